"""Stop a campaign in the queue, go on with it, give it more."""

import signal
import subprocess
import time

import pytest
import yaml

from cluster_site import NEPAL, end_group
from nepal_flows.campaign.extend import change_budget
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cluster import submit
from nepal_flows.cluster.running import running_jobs
from nepal_flows.cluster.stop import stop_campaign
from nepal_flows.cluster.submit import extend_campaign, resume_campaign
from nepal_flows.errors import CampaignError
from nepal_flows.flows.local import mark_stopped
from nepal_flows.flows.registration import register_campaign
from nepal_flows.schemas import CampaignDoc, CampaignState, IterationDoc
from nepal_flows.settings import Settings

pytestmark = pytest.mark.integration

SETTINGS = Settings()


@pytest.fixture
def submitted(site, write_campaign):
    """A campaign in the queue, with nobody to work on it."""
    path = write_campaign(site.folder / "campaign")
    return site, path, site.submit(path).campaign.key


def states(site):
    return {job["state"] for job in site.database.fireworks.find({}, {"state": 1})}


def resume(site, key):
    return resume_campaign(site.launchpad, site.records, key, settings=SETTINGS)


def test_stopped_campaign_leaves_the_queue_and_goes_on_in_a_new_workflow(submitted):
    site, _, key = submitted
    assert stop_campaign(site.launchpad, site.records, key).campaign.end_state == "stopped"
    assert states(site) == {"DEFUSED"}
    resumed = resume(site, key)
    assert resumed.is_new
    assert resumed.queue.is_active
    assert resumed.campaign.end_state is None
    assert not resume(site, key).is_new
    assert site.database.workflows.count_documents({}) == 2


def test_stop_that_could_not_withdraw_the_jobs_is_taken_back_by_resume(submitted):
    site, _, key = submitted
    mark_stopped(site.records, key)
    resumed = resume(site, key)
    assert not resumed.is_new
    assert resumed.campaign.end_state is None
    assert site.records.load(CampaignDoc, key).end_state is None


def test_commands_stop_resume_and_extend_a_campaign(submitted):
    site, path, _ = submitted
    assert "stopped; nothing of it is queued any more" in site.nepal("stop", path).stdout
    status = site.nepal_json("status", "small")
    assert status["end_state"] == "stopped"
    assert not status["is_running"]
    assert "submitted" in site.nepal("resume", "small").stdout
    site.nepal("extend", path, "--labels", "20")
    assert yaml.safe_load(path.read_text())["budget"] == {"labels": 20, "iterations": 3}
    assert "in the queue already: nothing was added" in site.nepal("submit", path).stdout


def test_deciding_job_of_a_stopped_campaign_appends_nothing(submitted):
    site, _, key = submitted
    stopped = site.records.load(CampaignDoc, key).model_copy(update={"end_state": "stopped"})
    site.records.replace(stopped)
    site.records.put(an_iteration(key))
    decide = next(
        firework.tasks[0]["job"]
        for firework in map(site.launchpad.get_fw_by_id, site.launchpad.get_fw_ids())
        if firework.name == "decide"
    )
    decide.function_args = ("iteration",)
    response = decide.run(store=site.job_store)
    assert response.replace is None
    assert response.output["end_state"] == "stopped"


def an_iteration(campaign_id):
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


def job_named(site, name):
    """Return the job of this name that is not over."""
    criteria = {"name": name, "state": {"$nin": ["DEFUSED", "COMPLETED"]}}
    (row,) = site.database.fireworks.find(criteria, {"fw_id": 1})
    return site.launchpad.get_fw_by_id(row["fw_id"]).tasks[0]["job"]


def test_extension_that_comes_after_the_end_was_decided_is_not_lost(site, write_campaign):
    path = write_campaign(site.folder / "campaign", budget={"labels": 14, "iterations": 1})
    key = register_campaign(site.records, load_campaign(path)).key
    site.records.put(an_iteration(key))
    site.submit(path)
    close = job_named(site, "close")
    loaded = change_budget(path, iterations=3)
    extended = extend_campaign(site.launchpad, site.records, loaded, settings=SETTINGS)
    assert extended.is_new
    names = {job.name for job in extended.queue.jobs}
    assert "decide" in names
    assert "close" not in names
    state = CampaignState(campaign_id=key, iteration=1, previous_iteration_key="iteration")
    close.function_args = (state, "budget_exhausted", [], "no such active set")
    close.function_kwargs = {}
    response = close.run(store=site.job_store)  # it ran when the campaign was extended
    assert response.output.end_state is None
    assert "decide" in {job.name for job, _ in response.replace.iterflow()}
    assert site.records.load(CampaignDoc, key).end_state is None


def test_labels_that_failed_are_removed_only_where_they_are_made_again(submitted, monkeypatch):
    site, _, key = submitted
    removed = []
    monkeypatch.setattr(submit, "remove_failed", lambda *_: removed.append(states(site)))

    def resume_all():
        return resume_campaign(
            site.launchpad, site.records, key, settings=SETTINGS, retry_failed=True
        )

    assert not resume_all().is_new
    assert removed == []
    stop_campaign(site.launchpad, site.records, key)
    assert resume_all().is_new
    assert removed == [{"DEFUSED"}]


def test_campaign_that_ends_while_it_is_submitted_again_has_ended(submitted, monkeypatch):
    site, path, key = submitted
    site.database.fireworks.update_many({}, {"$set": {"state": "COMPLETED"}})
    read = submit.campaign_queue

    def ended_just_before(*arguments):
        document = site.records.load(CampaignDoc, key)
        site.records.replace(document.model_copy(update={"end_state": "stalled"}))
        return read(*arguments)

    monkeypatch.setattr(submit, "campaign_queue", ended_just_before)
    assert not site.submit(path).is_new
    assert site.records.load(CampaignDoc, key).end_state == "stalled"
    site.records.replace(site.records.load(CampaignDoc, key).model_copy(update={"end_state": None}))
    assert not resume(site, key).is_new
    assert site.records.load(CampaignDoc, key).end_state == "stalled"


def test_job_that_fails_holds_the_campaign_up_until_it_is_resumed(submitted):
    site, path, key = submitted
    site.database["blobs.files"].delete_many({})  # the starting structures are gone
    with site.workers(["cpu"]), pytest.raises(AssertionError, match="does not go on"):
        site.wait()
    queue = site.queue()
    assert queue.is_blocked
    (failed,) = queue.fizzled
    assert failed.name == "make seeds"
    assert "is missing" in failed.reason
    text = site.nepal("status", path).stdout
    assert f"failed      make seeds (Firework {failed.fw_id})" in text
    assert "is missing" in text
    assert "nepal resume small" in text
    assert "nepal run" not in text
    assert not site.submit(path).is_new
    assert resume(site, key).is_new
    assert states(site) == {"DEFUSED", "READY", "WAITING"}


def test_changed_file_is_refused_by_submit_and_taken_over_by_extend(submitted):
    site, path, key = submitted
    path.write_text("# mine\n" + path.read_text())
    loaded = change_budget(path, iterations=4)
    assert path.read_text().startswith("# mine")
    with pytest.raises(CampaignError, match=r"`budget`.*nepal extend"):
        site.submit(path)
    extended = extend_campaign(site.launchpad, site.records, loaded, settings=SETTINGS)
    assert not extended.is_new
    assert not site.submit(path).is_new
    assert site.records.load(CampaignDoc, key).settings["budget"]["iterations"] == 4


def test_unknown_campaign_is_not_extended(site, write_campaign):
    loaded = load_campaign(write_campaign(site.folder))
    with pytest.raises(CampaignError, match="nepal submit"):
        extend_campaign(site.launchpad, site.records, loaded, settings=SETTINGS)


def test_more_budget_than_can_be_leaves_the_file_as_it_was(write_campaign, tmp_path):
    path = write_campaign(tmp_path)
    before = path.read_text()
    with pytest.raises(CampaignError, match="labels"):
        change_budget(path, labels=100_000_000)
    assert path.read_text() == before


def test_watched_status_says_it_again_until_the_campaign_stands(submitted):
    site, _, key = submitted
    log = site.folder / "watch.log"
    command = [*NEPAL, "status", "small", "--watch", "--every", "1"]
    with log.open("wb") as out:
        watch = subprocess.Popen(
            command, env=site.environment("login"), cwd=site.folder, stdout=out, stderr=out
        )
        while log.read_text().count("small: ") < 2:
            assert watch.poll() is None, log.read_text()
            time.sleep(0.2)
        stop_campaign(site.launchpad, site.records, key)
        assert watch.wait(timeout=60) == 0
    assert log.read_text().count("make seeds waiting for cpu") >= 2
    assert "small: stopped" in log.read_text()


@pytest.mark.slow
def test_stop_now_ends_jobs_that_run_and_the_campaign_goes_on_when_it_is_resumed(
    site, write_campaign
):
    long = {"adam_steps": 1_000_000}
    key = site.submit(write_campaign(site.folder / "campaign", training=long)).campaign.key
    worker = site.start_worker("cpu")
    try:
        with site.workers(["dft"]):
            while not trains(site):
                assert worker.poll() is None
                time.sleep(0.2)
        assert "ended       1 jobs" in site.nepal("stop", "small", "--now").stdout
        assert worker.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        end_group(worker)
    assert states(site) == {"DEFUSED", "COMPLETED"}
    assert site.records.load(CampaignDoc, key).end_state == "stopped"
    assert resume(site, key).queue.is_active


def trains(site):
    """Return whether a worker trains and has said who it is."""
    (document,) = site.campaigns()
    jobs = running_jobs(site.launchpad, document.key)
    return any(job.name == "train" and job.process for job in jobs)


@pytest.mark.slow
def test_budget_can_be_raised_while_a_campaign_is_active_and_after_its_end(site, write_campaign):
    path = write_campaign(site.folder / "campaign", budget={"labels": 14, "iterations": 1})
    site.submit(path)
    loaded = change_budget(path, iterations=2)
    assert not extend_campaign(site.launchpad, site.records, loaded, settings=SETTINGS).is_new
    with site.workers(["dft", "cpu"]):
        assert site.wait().end_state == "budget_exhausted"
        assert site.records.count(IterationDoc) == 2
        assert site.database.workflows.count_documents({}) == 1
        assert not site.submit(path).is_new
        loaded = change_budget(path, iterations=3)
        assert extend_campaign(site.launchpad, site.records, loaded, settings=SETTINGS).is_new
        assert site.wait().end_state == "budget_exhausted"
    assert site.records.count(IterationDoc) == 3
