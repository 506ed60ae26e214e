"""Committees in `gpumd`: input, frames, scores, and a program that compares otherwise."""

import dataclasses
import json

import numpy as np
import pytest

from nepal_flows.core.committee import Committee
from nepal_flows.core.nep.model import model_from_parameters
from nepal_flows.core.scoring import Scale
from nepal_flows.engines.gpumd.committee import CommitteeScore
from nepal_flows.engines.gpumd.md import GpumdSetup, run_gpumd_md
from nepal_flows.engines.gpumd.self_test import run_self_test
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.errors import EngineError

SHA = "a" * 64
PROTOCOL = [MdSegment("npt", (300.0, 600.0), 60), MdSegment("nvt", 600.0, 45)]


@pytest.fixture(scope="module")
def score(copper_model):
    """Return a committee around the copper model, members a hundredth apart."""
    rng, parameters = np.random.default_rng(5), copper_model.parameters()
    others = [
        model_from_parameters(
            copper_model.architecture,
            parameters * (1.0 + 0.01 * rng.standard_normal(len(parameters))),
            copper_model.q_scaler,
        )
        for _ in range(2)
    ]
    return CommitteeScore(Committee((copper_model, *others), 0.05, 1.5), Scale())


@pytest.fixture
def explore(gpumd_command, copper_model, active_set, start, gate, score, tmp_path):
    def run(protocol=PROTOCOL, **changes):
        options = {
            "seed": 3, "n_candidates": 6, "n_audit": 3, "gamma_low": 1e-3,
            "candidate_ceiling": 1e9, "committee": score, "gate": gate,
        } | changes  # fmt: skip
        return run_gpumd_md(
            start, copper_model, protocol,
            setup=GpumdSetup(command=gpumd_command, scratch=str(tmp_path)),
            active_set=active_set, model_sha256=SHA, **options,
        )  # fmt: skip

    return run


def test_every_check_is_scored_by_the_members(explore, score, monkeypatch, tmp_path):
    log = tmp_path / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    run = explore(burn_in_steps=20)
    assert run.outcome == "finished"
    assert run.trace.step.tolist() == [*range(30, 61, 10), *range(70, 101, 10)]
    assert len(run.candidates) == 6
    for frame in (*run.candidates, *run.audit):
        bars = score.committee.bars(frame.structure)
        np.testing.assert_allclose(frame.grades, bars.ratios)
        row = run.trace.step.tolist().index(frame.step)
        assert run.trace.gamma[row] == pytest.approx(bars.ratios.max())
        assert run.trace.largest_bar_eV_per_A[row] == pytest.approx(bars.forces.max())
        assert run.trace.expected_rmse_eV_per_A[row] == pytest.approx(bars.force_rms)
    run_in = json.loads(log.read_text().splitlines()[0])["run_in"].splitlines()
    assert run_in[:3] == ["potential nep.txt", "potential nep_1.txt", "potential nep_2.txt"]
    assert run_in.count("active 10 0 0 0 0") == 2  # not before the burn-in
    assert not any(line.startswith("compute_extrapolation") for line in run_in)


def test_a_body_of_ones_own_is_compared_too(explore):
    run = explore(body="ensemble nve\nrun 25\nensemble nvt_lan 300 300 50\nrun 20\n")
    assert run.trace.step.tolist() == [10, 20, 35, 45]


def test_wanted_accuracy_and_scale_are_those_of_the_campaign(explore, score):
    known = dataclasses.replace(score, scale=Scale(wanted=1e3))
    assert explore(committee=known, gamma_low=2.0).trace.gamma.max() < 1.0


def test_forces_that_are_no_numbers_end_a_run(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_FAULT", "nan")
    run = explore()
    assert run.outcome == "not_finite"
    assert 0 < run.finished_steps < 105


@pytest.mark.parametrize(("fault", "words"), [("truncated", "damaged"), ("short", "disk full")])
def test_frames_that_are_missing_are_not_taken_for_a_whole_run(explore, monkeypatch, fault, words):
    monkeypatch.setenv("STANDIN_FAULT", fault)
    run = explore()
    assert run.outcome == "crashed"
    assert words in run.reason


def test_another_deviation_ends_the_run(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "3")
    with pytest.raises(EngineError, match="nothing of this run is used"):
        explore()


@pytest.mark.parametrize(
    ("version", "first_guess", "found"), [("5.6", False, True), ("4.3", True, False)]
)
def test_the_form_of_the_keyword_is_found_out(
    gpumd_command, copper_model, active_set, start, score, tmp_path, monkeypatch,
    version, first_guess, found,
):  # fmt: skip
    def tested(**changes):
        setup = {"command": gpumd_command, "scratch": str(tmp_path)} | changes
        return run_self_test(
            start, copper_model, active_set, setup=GpumdSetup(**setup), model_sha256=SHA,
            committee=score,
        )  # fmt: skip

    monkeypatch.setenv("STANDIN_VERSION", version)
    test = tested(names_uncertainty=first_guess)
    assert test.setup.names_uncertainty is found
    assert test.difference < 0.1
    assert test.gamma == pytest.approx(score.committee.deviations(start).max(), rel=1e-4)
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "3")
    with pytest.raises(EngineError, match="cannot be trusted"):
        tested(names_uncertainty=found)
