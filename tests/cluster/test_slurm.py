"""A campaign through SLURM: `qlaunch` submits, `rlaunch` runs, three kinds of workers.

Exploration is sent to the ``gpu`` worker, as GPUMD's would be; the engine is our own.
"""

import os
import signal
import time

import pytest

from cluster_site import end_group
from mongo_servers import listening_addresses
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cluster.submit import add_remaining
from nepal_flows.flows.registration import register_campaign
from nepal_flows.jobs.routing import ANY_OTHER, LABEL_BUNDLE
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc
from nepal_flows.settings import Settings
from slurm_site import PARTITIONS, SLURM_ANSWERS, process_id, slurm_job

pytestmark = [pytest.mark.integration, pytest.mark.slurm, pytest.mark.slow]

RAMP = {
    "name": "ramp",
    "start": {"n_atoms": 8},
    "stages": [{"temperature_K": [300, 900], "steps": 10_000}],  # time enough to be killed
}
ROUTES = {ANY_OTHER: "cpu", LABEL_BUNDLE: "dft", "explore": "gpu"}


@pytest.fixture(scope="module")
def queued(slurm, make_site, write_campaign, tmp_path_factory):
    """A campaign of two iterations in the queue."""
    site = make_site(tmp_path_factory.mktemp("site"), *SLURM_ANSWERS)
    site.settings |= slurm.environment
    path = write_campaign(
        site.folder / "campaign",
        budget={"labels": 14, "iterations": 2},
        exploration={"time_step_fs": 2.5, "conditions": [RAMP, RAMP | {"name": "again"}]},
    )
    loaded = load_campaign(path)
    site.launchpad.reset("", require_password=False)
    document = register_campaign(site.records, loaded)
    settings = Settings(label_bundle=2, explore_bundle=1)
    assert add_remaining(
        site.launchpad, site.records, loaded.campaign, document, settings=settings, routes=ROUTES
    )
    return site


@pytest.fixture(scope="module")
def finished(slurm, queued):
    """The campaign at its end; one of its jobs was cancelled and one killed on the way."""
    launchers = [queued.start_queue_launcher(kind) for kind in PARTITIONS]
    try:
        cancelled = running(queued, "train")
        slurm.command("scancel", slurm_job(queued, cancelled))
        wait(lambda: not is_running(queued, cancelled), queued)
        queued.cancelled = cancelled
        killed = running(queued, "explore")
        os.kill(process_id(queued, killed), signal.SIGKILL)
        wait(lambda: slurm_job(queued, killed) not in slurm.jobs(), queued)
        queued.problems = slurm.repair(queued)
        queued.ended = queued.wait()
    finally:
        for launcher in launchers:
            end_group(launcher)
    return queued


def running(site, name):
    """Return the id of a job of this name once it runs under SLURM."""
    found = []

    def look():
        found[:] = site.database.fireworks.find({"name": name, "state": "RUNNING"}).limit(1)
        return bool(found) and slurm_job(site, found[0]["fw_id"]) is not None

    wait(look, site, step_s=0.02)
    return found[0]["fw_id"]


def is_running(site, fw_id):
    return site.database.fireworks.find_one({"fw_id": fw_id})["state"] == "RUNNING"


def wait(is_so, site, *, timeout_s=240.0, step_s=0.2):
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"It did not come to that.\n{site.queue()}\n{site.logs()}")
        time.sleep(step_s)


def test_campaign_goes_through_slurm_to_its_end(finished):
    assert finished.ended.end_state == "budget_exhausted"
    assert finished.records.count(IterationDoc) == 2
    assert finished.records.count(ExplorationDoc) == 4
    assert finished.records.count(LabelDoc) > 4


def test_every_job_ran_in_the_partition_of_its_kind(finished, slurm):
    kinds = {}
    for launch in finished.database.launches.find({"state": "COMPLETED"}):
        worker = launch["action"]["stored_data"]["nepal_worker"]
        assert worker["slurm_cluster"] == "nepal"
        assert worker["slurm_job"].isdigit()
        kinds.setdefault(launch["fworker"]["name"], set()).add(
            finished.database.fireworks.find_one({"fw_id": launch["fw_id"]})["name"]
        )
        script = slurm_script(finished, launch)
        assert f"#SBATCH --partition={launch['fworker']['name']}\n" in script
    assert kinds["gpu"] == {"explore"}
    assert kinds["dft"] == {LABEL_BUNDLE}
    assert {"train", "select", "decide", "close"} <= kinds["cpu"]


def slurm_script(site, launch):
    """Return the script that SLURM ran for a launch; a cpu job takes one launch after another."""
    from pathlib import Path

    folder = Path(launch["launch_dir"])
    places = (folder / "FW_submit.script", folder.parent / "FW_submit.script")
    return next(place.read_text() for place in places if place.exists())


def test_cancelled_job_went_back_to_the_queue_by_itself(finished):
    job = finished.database.fireworks.find_one({"fw_id": finished.cancelled})
    assert job["state"] == "COMPLETED"
    assert len(job["archived_launches"]) == 1


def test_doctor_found_the_job_whose_worker_was_killed(finished):
    assert any("explore" in what for what in finished.problems), finished.problems


def test_commands_on_the_login_node_see_the_queue(finished):
    text = finished.nepal("doctor").stdout
    assert "Nothing is wrong." in text
    assert "nothing left" in finished.nepal("status", "small").stdout


def test_daemons_listen_to_this_machine_alone(slurm):
    listening = {process.pid: listening_addresses(process.pid) for process in slurm.processes}
    assert set().union(*listening.values()) == {"127.0.0.1"}
