"""A campaign that is extended while its end runs goes on by itself."""

import pytest

from nepal_flows.campaign.extend import change_budget
from nepal_flows.campaign.read import load_campaign
from nepal_flows.flows import run_campaign
from nepal_flows.flows.campaign import CampaignMaker
from nepal_flows.flows.local import mark_stopped
from nepal_flows.flows.registration import register_campaign
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import CampaignDoc, CampaignState, IterationDoc


@pytest.fixture
def ending(write_campaign, tmp_path):
    """A campaign that used its only iteration: file, store, and a function that closes it."""
    path = write_campaign(tmp_path, budget={"labels": 14, "iterations": 1})
    store = embedded_job_store(tmp_path / "store")
    records, loaded = Records(store), load_campaign(path)
    document = register_campaign(records, loaded)
    records.put(_iteration(document.key))
    state = CampaignState(campaign_id=document.key, iteration=1, previous_iteration_key="iteration")
    maker = CampaignMaker(campaign=loaded.campaign, routes={"train": "gpu", "*": "cpu"})

    def close():
        job = maker.close(state, "budget_exhausted", ["spent"], None, model_key="m")
        return job.run(store=store)

    return path, records, close


def _iteration(campaign_id):
    lists = ("exploration_keys", "label_keys", "conditions", "coverage", "reasons")
    names = ("model_key", "model_sha256", "active_set_key", "selection_key")
    counts = (name for name in IterationDoc.model_fields if name.startswith("n_"))
    return IterationDoc(
        key="iteration",
        campaign_id=campaign_id,
        iteration=0,
        phase="loop",
        training_errors={"n_structures": 1, "n_atoms": 1},
        checks={},
        is_clean=False,
        **{name: [] for name in lists},
        **dict.fromkeys(names, "x"),
        **dict.fromkeys(counts, 0),
    )


def jobs_of(flow):
    return {job.name: job for job, _ in flow.iterflow()}


def test_campaign_as_it_was_when_its_end_was_decided_is_closed(ending):
    _, records, close = ending
    response = close()
    assert response.replace is None
    closed = next(records.query(CampaignDoc))
    assert closed.end_state == response.output.end_state == "budget_exhausted"
    assert closed.final_model_key == "m"


def test_extension_that_comes_while_the_end_runs_is_taken_up_by_the_close(ending):
    path, records, close = ending
    register_campaign(records, change_budget(path, iterations=3))
    jobs = jobs_of(close().replace)
    assert "decide" in jobs
    assert jobs["decide"].function_args == (jobs["assess"].output.key,)
    assert jobs["decide"].maker.campaign.budget.iterations == 3
    assert jobs["train"].config.manager_config["_fworker"] == "gpu"
    assert jobs["decide"].config.manager_config["_fworker"] == "cpu"
    assert next(records.query(CampaignDoc)).end_state is None


def test_change_after_which_the_campaign_still_ends_is_ended_anew(ending):
    path, records, close = ending
    register_campaign(records, change_budget(path, labels=20))
    first = jobs_of(close().replace)
    assert "decide" not in first
    assert first["close"].maker.campaign.budget.labels == 20
    register_campaign(records, change_budget(path, labels=21))
    assert jobs_of(close().replace)["close"].uuid != first["close"].uuid


def test_stopped_campaign_is_not_gone_on_with(ending):
    path, records, close = ending
    key = register_campaign(records, change_budget(path, iterations=3)).key
    mark_stopped(records, key)
    assert close().replace is None
    assert records.load(CampaignDoc, key).end_state == "stopped"


def test_run_on_this_machine_takes_up_an_extension_that_comes_while_its_end_runs(
    write_campaign, tmp_path
):
    path = write_campaign(tmp_path, budget={"labels": 14, "iterations": 1})
    seen = []

    def extend_during_the_last_fit(event):
        if event.stage == "train" and "assess" in seen and "extended" not in seen:
            seen.append("extended")
            (file,) = tmp_path.glob("**/store.sqlite")
            records = Records(embedded_job_store(file.parent))
            register_campaign(records, change_budget(path, iterations=2))
        seen.append(event.stage)

    run = run_campaign(path, listener=extend_during_the_last_fit)
    assert "extended" in seen
    assert run.campaign.end_state is not None
    assert run.campaign.settings["budget"]["iterations"] == 2
    assert run.campaign.n_iterations == run.records.count(IterationDoc) == 2
