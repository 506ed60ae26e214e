"""What is decided about a queue is decided while nobody else changes it."""

from types import SimpleNamespace

import mongomock
import pytest

from nepal_flows.cluster import queue as queue_module
from nepal_flows.cluster.stop import withdraw_jobs
from nepal_flows.cluster.workflows import add_once
from nepal_flows.errors import CampaignLockedError

METADATA = {"campaign_id": "c", "campaign": "small"}


@pytest.fixture
def launchpad():
    """A queue with one workflow, whose only job decides."""
    database = mongomock.MongoClient().db
    database.workflows.insert_one({"nodes": [1], "links": {"1": []}, "metadata": METADATA})
    job = {"fw_id": 1, "name": "decide", "state": "RUNNING", "spec": {}, "launches": []}
    database.fireworks.insert_one(job)

    def defuse_fw(fw_id):
        database.fireworks.update_one({"fw_id": fw_id}, {"$set": {"state": "DEFUSED"}})

    def add_wf(workflow):
        database.workflows.insert_one({"nodes": [2], "metadata": workflow.metadata})

    return SimpleNamespace(
        workflows=database.workflows,
        fireworks=database.fireworks,
        launches=database.launches,
        add_wf=add_wf,
        defuse_fw=defuse_fw,
    )


class Claims:
    """Records of which only the claim matters: it is granted after something has happened."""

    def __init__(self, before=lambda: None):
        self.before = before

    def claim(self, *_, **__):
        self.before()
        return True

    def release(self, *_):
        pass


def workflow():
    job = SimpleNamespace(uuid="first")
    return SimpleNamespace(root_fw_ids=[-1], id_fw={-1: SimpleNamespace(tasks=[{"job": job}])})


def test_job_that_runs_adds_the_next_workflow_once(launchpad):
    assert add_once(launchpad, Claims(), workflow(), METADATA, while_running=1)
    assert not add_once(launchpad, Claims(), workflow(), METADATA, while_running=1)


def test_job_that_is_withdrawn_while_it_waits_for_the_claim_adds_nothing(launchpad):
    stopped_first = Claims(before=lambda: launchpad.defuse_fw(1))
    assert not add_once(launchpad, stopped_first, workflow(), METADATA, while_running=1)
    assert launchpad.workflows.count_documents({}) == 1


def test_all_jobs_are_withdrawn(launchpad):
    assert withdraw_jobs(launchpad, "c") == 1
    assert launchpad.fireworks.find_one()["state"] == "DEFUSED"


def test_queue_that_cannot_be_read_whole_is_not_taken_for_withdrawn(launchpad, monkeypatch):
    monkeypatch.setattr(queue_module, "_BETWEEN_READINGS_S", 0.0)
    launchpad.fireworks.update_one({"fw_id": 1}, {"$set": {"state": "COMPLETED"}})
    launchpad.workflows.update_one({}, {"$set": {"locked": True}})
    with pytest.raises(CampaignLockedError, match=r"still in the queue.*nepal doctor --fix"):
        withdraw_jobs(launchpad, "c")
