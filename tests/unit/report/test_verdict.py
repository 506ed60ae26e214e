"""The verdict says what the documents say, and points at what does not fit together."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from nepal_flows.report import ReportData, build_verdict, summary_lines
from nepal_flows.report.facts import worst_condition
from nepal_flows.schemas import CampaignDoc


def test_converged_names_bound_errors_and_limits(converged: ReportData) -> None:
    verdict = build_verdict(converged)
    assert (verdict.state, verdict.tone) == ("converged", "good")
    shown = " ".join(verdict.shown)
    assert "5 of 5 conditions were clean" in shown
    assert "0 of 420 windows passed grade 5: at 95 % confidence, less than 0.71 %" in shown
    assert "at most 140 meV/Å, 1.9 times" in shown
    assert "9.10 meV/Å on fresh trajectories" in shown
    assert "surfaces, grain boundaries and clusters." in verdict.not_covered
    assert verdict.missing == ()
    assert verdict.cautions == ()


@pytest.mark.parametrize(
    ("is_running", "state"), [(True, "running"), (False, "interrupted"), (None, "in_progress")]
)
def test_campaign_without_end_is_told_by_its_lock(
    make_data: Callable[..., ReportData], is_running: bool | None, state: str
) -> None:
    data = replace(make_data(n_iterations=2, end_state=None), is_running=is_running)
    assert build_verdict(data).state == state


def test_campaign_that_waits_for_approval_says_so(make_data: Callable[..., ReportData]) -> None:
    data = replace(make_data(n_iterations=1, end_state=None), is_waiting=True)
    assert build_verdict(replace(data, is_running=False)).state == "waiting"
    assert build_verdict(replace(data, is_running=True)).state == "running"
    assert any("--approve" in step for step in build_verdict(data).next_steps)


def test_converged_without_certificate_is_not_taken_on_trust(converged: ReportData) -> None:
    last = converged.iterations[-1].model_copy(update={"certificate": None})
    data = replace(converged, iterations=(*converged.iterations[:-1], last))
    verdict = build_verdict(data)
    assert verdict.tone == "warn"
    assert "certificate is not on record" in verdict.sentence
    assert any("not certified" in line for line in verdict.cautions)


def test_certificate_of_another_model_is_pointed_out(converged: ReportData) -> None:
    campaign = converged.campaign.model_copy(update={"final_model_key": "model-m3"})
    cautions = build_verdict(replace(converged, campaign=campaign)).cautions
    assert any("The certificate is for model" in line for line in cautions)
    assert any("measured with model" in line for line in cautions)


def test_reasons_and_what_is_missing_are_told_apart(make_data: Callable[..., ReportData]) -> None:
    data = make_data(n_iterations=2, end_state="budget_exhausted")
    reason = "All 20 labels of the budget were made."
    missing = data.iterations[-1].reasons[0]
    campaign = data.campaign.model_copy(update={"end_reasons": [reason, missing]})
    verdict = build_verdict(replace(data, campaign=campaign))
    assert verdict.reasons == (reason, missing)
    assert missing not in verdict.missing
    assert len(verdict.missing) == len(data.iterations[-1].reasons) - 1


def test_growing_rank_and_short_runs_are_cautioned(make_data: Callable[..., ReportData]) -> None:
    data = make_data(n_iterations=1, end_state="stopped")
    last = data.iterations[-1].model_copy(update={"reasons": []})
    cautions = " ".join(build_verdict(replace(data, iterations=(last,))).cautions)
    assert "rank of Cu still grows" in cautions
    assert "Not all steps ran in the newest round: crystal ramp" in cautions


def test_many_failed_labels_are_cautioned(converged: ReportData) -> None:
    labels = tuple(
        label.model_copy(update={"status": "quarantined"}) for label in converged.labels[:20]
    )
    cautions = build_verdict(replace(converged, labels=labels + converged.labels[20:])).cautions
    assert any("labels failed" in line for line in cautions)


def test_error_called_safe_far_above_training_is_cautioned(converged: ReportData) -> None:
    last = converged.iterations[-1]
    assert last.certificate is not None
    certificate = last.certificate.model_copy(
        update={"largest_error_called_safe_meV_per_A": 2000.0}
    )
    last = last.model_copy(update={"certificate": certificate})
    data = replace(converged, iterations=(*converged.iterations[:-1], last))
    assert any("the grade is missing something" in line for line in build_verdict(data).cautions)


def test_error_above_what_was_asked_for_is_cautioned(converged: ReportData) -> None:
    validation = converged.validations[0]
    errors = dict(validation.errors_by_condition)
    liquid = errors["liquid 1500 K"].model_copy(update={"force_rmse_meV_per_A": 24.0})
    missed = validation.model_copy(
        update={"errors_by_condition": {**errors, "liquid 1500 K": liquid}}
    )
    cautions = build_verdict(replace(converged, validations=(missed,))).cautions
    assert cautions == (
        "On fresh trajectories, liquid 1500 K: the force error is 24.0 meV/Å, 20 were asked for.",
    )


def test_hardest_condition_is_the_unclean_one(converged: ReportData) -> None:
    verdicts = list(converged.iterations[-1].conditions)
    assert worst_condition([]) is None
    unclean = verdicts[2].model_copy(update={"is_clean": False})
    assert worst_condition([*verdicts[:2], unclean, *verdicts[3:]]) is unclean


def test_documents_that_could_not_be_read_are_named(converged: ReportData) -> None:
    data = replace(converged, missing=("the trace of run 7 is not in the blob store",))
    assert "the trace of run 7 is not in the blob store." in build_verdict(data).cautions


def test_summary_tells_state_numbers_and_next_step(converged: ReportData) -> None:
    lines = summary_lines(converged)
    assert lines[0] == "copper-quickstart: converged"
    text = "\n".join(lines)
    assert "58 (45 training, 10 hold-out, 3 failed)" in text
    assert "fresh trajectories 9.10, hold-out 9.24, training 8.40 meV/Å" in text
    assert "5 of 5 clean" in text
    assert "20 min 00 s from start to end, 4 min 15 s of CPU" in text
    assert all(len(line) < 160 and line == line.rstrip() for line in lines)


def test_summary_of_a_new_campaign_is_short(make_campaign: Callable[..., CampaignDoc]) -> None:
    lines = summary_lines(ReportData(make_campaign(), is_running=True))
    assert lines[0] == "copper-quickstart: running"
    assert len(lines) <= 4


def test_summary_says_why_a_campaign_ended(make_data: Callable[..., ReportData]) -> None:
    data = make_data(n_iterations=2, end_state="failed")
    campaign = data.campaign.model_copy(update={"end_reasons": ["12 of 20 labels failed."]})
    lines = summary_lines(replace(data, campaign=campaign))
    assert "  because     12 of 20 labels failed." in lines
    assert any(line.startswith("  next        Remove the cause") for line in lines)
