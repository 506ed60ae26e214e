"""A site that works on while it is looked at has nothing taken away that lives."""

import datetime as dt
import socket
from types import SimpleNamespace

import mongomock
import pytest

from nepal_flows.cluster.doctor import fixed, queue_findings
from nepal_flows.cluster.doctor import queue as queue_module
from nepal_flows.cluster.slurm import SlurmQueue

TASK = "{{nepal_flows.cluster.firetask.CampaignFiretask}}"
NONE_LEFT = SlurmQueue("ours", frozenset())


class Site:
    """A database with one workflow of a campaign, and what happens while somebody waits."""

    def __init__(self, monkeypatch):
        self.database = mongomock.MongoClient().db
        self.database.workflows.insert_one(
            {"nodes": [1], "name": "w", "updated_on": 0, "metadata": {"campaign_id": "c"}}
        )
        self.add_job(1)
        self.reruns, self.failed, self.meanwhile, self.clock = [], [], [], 0.0
        self.launchpad = SimpleNamespace(
            workflows=self.database.workflows,
            fireworks=self.database.fireworks,
            launches=self.database.launches,
            rerun_fw=self.reruns.append,
            _refresh_wf=self.reruns.append,
            cancel_reservation=self.reruns.append,
            mark_fizzled=self.failed.append,
        )
        clock = SimpleNamespace(sleep=self.sleep, monotonic=lambda: self.clock)
        monkeypatch.setattr(queue_module, "time", clock)

    def sleep(self, seconds):
        self.clock += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()

    def add_job(self, fw_id, state="READY", launches=()):
        spec = {"_tasks": [{"_fw_name": TASK}]}
        job = {"fw_id": fw_id, "name": "train", "state": state, "spec": spec}
        self.database.fireworks.insert_one(job | {"launches": list(launches)})

    def launch(self, state="RUNNING", *, slurm_job=None, reserved=None, host="node1"):
        """Let job 1 be in a state, by a worker that says so, or by a reservation."""
        now = dt.datetime.now(dt.UTC).isoformat()
        history = [{"state": state, "created_on": now, "reservation_id": reserved}]
        launch = {"launch_id": 7, "fw_id": 1, "state": state, "state_history": history}
        if slurm_job:
            launch["nepal_worker"] = {"slurm_job": slurm_job, "slurm_cluster": "ours"}
        self.database.launches.insert_one(launch | {"host": host})
        change = {"state": state, "launches": [7]}
        self.database.fireworks.update_one({"fw_id": 1}, {"$set": change})

    def change(self, collection, criteria, **fields):
        self.database[collection].update_one(criteria, {"$set": fields})

    def problems(self, slurm=lambda: None):
        found = queue_findings(self.launchpad, slurm, lost_after_s=3600.0)
        return [finding for finding in found if finding.level == "problem"]


@pytest.fixture
def site(monkeypatch):
    return Site(monkeypatch)


def test_jobs_that_are_written_before_their_workflow_is_are_left_alone(site):
    site.add_job(2)
    new = {"nodes": [2], "name": "w", "updated_on": 0, "metadata": {"campaign_id": "c"}}
    site.meanwhile.append(lambda: site.database.workflows.insert_one(new))
    assert site.problems() == []


def test_jobs_that_a_slow_worker_appends_are_left_alone(site):
    site.add_job(2)
    site.change("workflows", {}, locked=True)
    n_looks = int(queue_module._PATIENCE_WITH_LOCKS_S)
    assert [p for p in site.problems() if "belong to no workflow" in p.what] == []
    assert site.clock >= n_looks


def test_jobs_that_nobody_names_are_removed(site):
    site.add_job(2)
    (problem,) = site.problems()
    assert "belong to no workflow: 2" in problem.what
    fixed(problem)
    assert site.database.fireworks.distinct("fw_id") == [1]


def test_workflow_that_is_written_slowly_keeps_its_lock(site):
    site.change("workflows", {}, locked=True)
    site.meanwhile += 6 * [lambda: None]
    site.meanwhile.append(lambda: site.change("workflows", {}, updated_on=1))
    assert site.problems() == []


def test_job_that_ends_while_slurm_is_asked_is_not_lost(site):
    site.launch(slurm_job="41")

    def slurm():
        site.change("launches", {}, state="COMPLETED")
        return NONE_LEFT

    assert site.problems(slurm) == []


def test_job_that_ended_before_it_is_put_right_is_not_done_again(site):
    site.launch(slurm_job="41")
    (problem,) = site.problems(lambda: NONE_LEFT)
    site.change("launches", {}, state="COMPLETED")
    fixed(problem)
    assert site.reruns == []
    assert site.database.launches.find_one()["state"] == "COMPLETED"


def test_failed_job_that_runs_again_is_not_given_to_a_third(site):
    site.launch("FIZZLED")
    (problem,) = site.problems()
    site.change("fireworks", {}, state="RUNNING", launches=[7, 8])
    fixed(problem)
    assert site.reruns == []


def test_job_whose_end_is_being_written_is_no_problem(site):
    site.launch("RUNNING")
    site.change("launches", {}, state="COMPLETED")
    site.meanwhile.append(lambda: site.change("fireworks", {}, state="COMPLETED"))
    assert site.problems() == []


def test_reservation_of_another_cluster_is_not_taken_back(site):
    site.launch("RESERVED", reserved="41", host="login.elsewhere")
    assert site.problems(lambda: NONE_LEFT) == []


def test_reservation_that_was_made_here_and_is_gone_is_taken_back(site):
    site.launch("RESERVED", reserved="41", host=socket.gethostname())
    (problem,) = site.problems(lambda: NONE_LEFT)
    assert "is RESERVED for job 41, which SLURM has not any more" in problem.what


def test_jobs_of_others_are_not_judged_where_slurm_does_not_tell_of_them(site, tmp_path):
    private = SlurmQueue("ours", frozenset(), is_private=True)
    site.launch(slurm_job="41")
    site.change("launches", {}, launch_dir=str(tmp_path))
    (problem,) = site.problems(lambda: private)
    assert "SLURM has no job 41" in problem.what
    site.change("launches", {}, launch_dir="/nonexistent/of/another")
    assert site.problems(lambda: private) == []
    assert len(site.problems(lambda: NONE_LEFT)) == 1


def test_run_on_a_node_of_another_cluster_is_not_judged_by_our_slurm(site):
    site.launch("RUNNING", reserved="41", host="node1")
    assert site.problems(lambda: NONE_LEFT) == []
    (problem,) = site.problems(lambda: SlurmQueue("ours", frozenset(), frozenset({"node1.hpc"})))
    assert "SLURM has no job 41" in problem.what


def test_job_that_was_interrupted_a_few_times_is_given_to_another_worker(site):
    site.launch("FIZZLED")
    site.change("fireworks", {}, archived_launches=[1, 2, 3, 4])
    (problem,) = site.problems()
    fixed(problem)
    assert site.reruns == [1]


def test_job_that_is_interrupted_every_time_is_given_to_nobody_any_more(site):
    site.launch("FIZZLED")
    site.change("fireworks", {}, archived_launches=[1, 2, 3, 4, 5])
    (problem,) = site.problems()
    assert problem.fix is None
    assert "started 6 times and never finished" in problem.what
    assert "lpad rerun_fws -i 1" in problem.remedy


def test_lost_run_of_a_job_that_is_lost_every_time_is_marked_as_failed(site):
    site.launch(slurm_job="41")
    site.change("fireworks", {}, archived_launches=[1, 2, 3, 4, 5])
    (problem,) = site.problems(lambda: NONE_LEFT)
    assert "SLURM has no job 41 any more; it was started 6 times" in problem.what
    assert "memory" in problem.remedy
    fixed(problem)
    assert (site.reruns, site.failed) == ([], [7])


def test_lost_run_that_ended_after_all_is_not_marked_as_failed(site):
    site.launch(slurm_job="41")
    site.change("fireworks", {}, archived_launches=[1, 2, 3, 4, 5])
    (problem,) = site.problems(lambda: NONE_LEFT)
    site.change("launches", {}, state="COMPLETED")
    fixed(problem)
    assert site.failed == []
