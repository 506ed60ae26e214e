"""What is read of a queue while FireWorks writes it."""

from types import SimpleNamespace

import mongomock
import pytest

from nepal_flows.cluster import queue as queue_module
from nepal_flows.cluster.queue import campaign_queue


class WrittenMeanwhile:
    """Jobs that FireWorks changes just before they are looked up.

    Parameters
    ----------
    fireworks
        The collection.
    steps
        What FireWorks does before the first look, the second, and so on.
    """

    def __init__(self, fireworks, steps):
        self.fireworks, self.steps = fireworks, list(steps)

    def find(self, query, fields=None):
        if self.steps:
            self.steps.pop(0)()
        return self.fireworks.find(query, fields)

    def __getattr__(self, name):
        return getattr(self.fireworks, name)


@pytest.fixture
def database():
    """One workflow of a campaign with its only job running."""
    collections = mongomock.MongoClient().db
    collections.workflows.insert_one(
        {"nodes": [1], "links": {"1": []}, "metadata": {"campaign_id": "c"}}
    )
    collections.fireworks.insert_one(
        {"fw_id": 1, "name": "grade", "state": "RUNNING", "spec": {}, "launches": []}
    )
    return collections


def read(database, *steps):
    """Read the queue while these steps happen."""
    return campaign_queue(
        SimpleNamespace(
            workflows=database.workflows,
            fireworks=WrittenMeanwhile(database.fireworks, steps),
            launches=database.launches,
        ),
        "c",
    )


def end_job(database):
    """Do what FireWorks does first: mark the job, add the one behind it."""
    database.workflows.update_one({}, {"$set": {"locked": True}})
    database.fireworks.update_one({"fw_id": 1}, {"$set": {"state": "COMPLETED"}})
    database.fireworks.insert_one(
        {"fw_id": 2, "name": "select", "state": "READY", "spec": {}, "launches": []}
    )


def name_children(database):
    """Do what it does then: name the new job in the workflow, and unlock that."""
    change = {"$set": {"nodes": [1, 2], "links": {"1": [2]}}, "$unset": {"locked": True}}
    database.workflows.update_one({}, change)


def test_job_that_is_being_added_is_not_missed(database):
    read_queue = read(database, lambda: end_job(database), lambda: name_children(database))
    assert [job.name for job in read_queue.jobs] == ["select"]
    assert read_queue.is_active
    assert not read_queue.is_changing


def test_job_that_was_added_between_two_looks_is_not_missed(database):
    def both():
        end_job(database)
        name_children(database)

    assert [job.name for job in read(database, both).jobs] == ["select"]


def test_queue_that_stays_locked_is_neither_empty_nor_over(database, monkeypatch):
    monkeypatch.setattr(queue_module, "_BETWEEN_READINGS_S", 0.0)
    read_queue = read(database, lambda: end_job(database))
    assert read_queue.jobs == ()
    assert read_queue.is_changing
    assert read_queue.is_active
    assert not read_queue.is_empty


def test_queue_without_jobs_is_empty(database):
    database.fireworks.update_one({"fw_id": 1}, {"$set": {"state": "COMPLETED"}})
    read_queue = read(database)
    assert read_queue.is_empty
    assert not read_queue.is_active
    assert read_queue.n_completed == 1
