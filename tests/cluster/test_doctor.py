"""`nepal doctor` finds what broke, says what to do, and puts it right."""

import os
import signal
import stat
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from pymongo.errors import AutoReconnect

from nepal_flows.cluster.doctor import (
    campaign_findings,
    fixed,
    queue_findings,
    site_findings,
    store_findings,
)
from nepal_flows.cluster.doctor.site import open_secrets
from nepal_flows.cluster.slurm import SlurmQueue
from nepal_flows.errors import StoreUnavailableError
from nepal_flows.records.connection import translated_errors
from nepal_flows.schemas import Ancestry, CampaignDoc, LabelDoc
from nepal_flows.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
def submitted(site, write_campaign):
    """A campaign in the queue, with nobody to work on it."""
    site.submit(write_campaign(site.folder / "campaign"))
    return site


def problems(site, slurm=None, **options):
    found = queue_findings(site.launchpad, lambda: slurm, **options)
    return [finding for finding in found if finding.level == "problem"]


def taken(site, **worker):
    """Let a worker take the first job, and return the job; the worker is as the keywords say."""
    from fireworks import FWorker

    firework, launch_id = site.launchpad.checkout_fw(FWorker("cpu"), str(site.folder))
    site.database.launches.update_one({"launch_id": launch_id}, {"$set": {"nepal_worker": worker}})
    return firework.fw_id


def state_of(site, fw_id):
    return site.database.fireworks.find_one({"fw_id": fw_id})["state"]


@pytest.fixture
def dead_process():
    code = "from nepal_flows.records.owner import this_process; print(this_process())"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_run_whose_process_is_gone_is_found_and_given_to_another(submitted, dead_process):
    fw_id = taken(submitted, process=dead_process, host="here")
    (problem,) = problems(submitted)
    assert "its process on here is gone" in problem.what
    assert fixed(problem).level == "ok"
    assert state_of(submitted, fw_id) == "READY"
    assert problems(submitted) == []


def test_run_whose_job_slurm_has_not_any_more_is_lost_and_one_it_has_is_not(submitted):
    fw_id = taken(submitted, slurm_job="17", slurm_cluster="ours")
    assert problems(submitted, SlurmQueue("ours", frozenset({"17"}))) == []
    assert problems(submitted, SlurmQueue("theirs", frozenset())) == []
    (problem,) = problems(submitted, SlurmQueue("ours", frozenset({"18"})))
    assert "SLURM has no job 17" in problem.what
    fixed(problem)
    assert state_of(submitted, fw_id) == "READY"


def test_run_that_died_before_it_said_who_it_was_is_known_by_its_reservation(submitted):
    from fireworks import FWorker

    firework, launch_id = submitted.launchpad.reserve_fw(FWorker("cpu"), str(submitted.folder))
    submitted.launchpad.set_reservation_id(launch_id, "41")
    submitted.launchpad.checkout_fw(FWorker("cpu"), str(submitted.folder), fw_id=firework.fw_id)
    assert state_of(submitted, firework.fw_id) == "RUNNING"
    assert problems(submitted, SlurmQueue("ours", frozenset({"41"}))) == []
    (problem,) = problems(submitted, SlurmQueue("ours", frozenset()))
    assert "SLURM has no job 41" in problem.what
    fixed(problem)
    assert state_of(submitted, firework.fw_id) == "READY"


def test_silent_run_is_lost_after_its_time(submitted):
    taken(submitted)
    assert problems(submitted, lost_after_s=3600.0) == []
    time.sleep(0.1)
    (problem,) = problems(submitted, lost_after_s=0.05)
    assert "nothing was heard of it" in problem.what


def test_reservation_without_a_job_is_taken_back(submitted):
    from fireworks import FWorker

    firework, launch_id = submitted.launchpad.reserve_fw(FWorker("cpu"), str(submitted.folder))
    submitted.launchpad.set_reservation_id(launch_id, "41")
    assert problems(submitted, SlurmQueue("ours", frozenset({"41"}))) == []
    (problem,) = problems(submitted, SlurmQueue("ours", frozenset()))
    fixed(problem)
    assert state_of(submitted, firework.fw_id) == "READY"


def test_reservation_for_which_nothing_was_submitted_is_taken_back_after_its_time(submitted):
    from fireworks import FWorker

    firework, _ = submitted.launchpad.reserve_fw(FWorker("cpu"), str(submitted.folder))
    assert problems(submitted, lost_after_s=3600.0) == []
    time.sleep(0.1)
    (problem,) = problems(submitted, lost_after_s=0.05)
    assert "no job was submitted for it" in problem.what
    fixed(problem)
    assert state_of(submitted, firework.fw_id) == "READY"


def test_job_whose_worker_died_while_it_took_it_is_given_to_another(submitted):
    first = submitted.database.fireworks.find_one({"state": "READY"})["fw_id"]
    submitted.database.fireworks.update_one({"fw_id": first}, {"$set": {"state": "RESERVED"}})
    (problem,) = problems(submitted)
    assert "is RESERVED, but nobody launches it" in problem.what
    fixed(problem)
    assert state_of(submitted, first) == "READY"
    assert problems(submitted) == []


def test_job_whose_end_was_not_told_is_refreshed(submitted):
    fw_id = taken(submitted)
    submitted.database.launches.update_one({"fw_id": fw_id}, {"$set": {"state": "FIZZLED"}})
    (problem,) = problems(submitted)
    assert "is RUNNING, but its launch is FIZZLED" in problem.what
    fixed(problem)
    assert state_of(submitted, fw_id) == "FIZZLED"


def test_workflow_locked_by_the_dead_is_unlocked(submitted):
    submitted.database.workflows.update_one({}, {"$set": {"locked": True}})
    (problem,) = problems(submitted)
    assert "is locked by somebody who died" in problem.what
    fixed(problem)
    assert problems(submitted) == []


def test_jobs_that_were_not_told_of_an_end_are_refreshed(submitted):
    first = submitted.database.fireworks.find_one({"state": "READY"})["fw_id"]
    submitted.database.fireworks.update_one({"fw_id": first}, {"$set": {"state": "WAITING"}})
    (problem,) = problems(submitted)
    assert "jobs wait, and none runs" in problem.what
    fixed(problem)
    assert state_of(submitted, first) == "READY"


def test_campaign_without_a_job_that_has_not_ended_goes_on(submitted):
    def found():
        return list(campaign_findings(submitted.launchpad, submitted.records, settings=Settings()))

    assert found() == []
    submitted.database.fireworks.update_many({}, {"$set": {"state": "COMPLETED"}})
    (problem,) = found()
    assert "small has not ended, but no job of it is in the queue" in problem.what
    submitted.database.workflows.update_many({}, {"$set": {"state": "COMPLETED"}})
    fixed(problem)
    assert submitted.queue().is_active
    assert found() == []


def test_campaign_that_has_just_ended_is_no_problem(submitted, monkeypatch):
    submitted.database.fireworks.update_many({}, {"$set": {"state": "COMPLETED"}})
    (before,) = submitted.records.query(CampaignDoc)
    submitted.records.replace(before.model_copy(update={"end_state": "converged"}))
    monkeypatch.setattr(submitted.records, "query", lambda *_: iter([before]))
    found = campaign_findings(submitted.launchpad, submitted.records, settings=Settings())
    assert list(found) == []


def test_labels_of_two_versions_of_a_code_are_told(submitted):
    (campaign,) = submitted.records.query(CampaignDoc)
    for version in ("VASP 6.4.2", "VASP 6.5.0"):
        submitted.records.put(a_label(campaign, version))
    (found,) = campaign_findings(submitted.launchpad, submitted.records, settings=Settings())
    assert found.level == "note"
    assert "made by VASP 6.4.2 and VASP 6.5.0" in found.what
    assert "nepal check-labels FILE --versions" in found.remedy


def a_label(campaign, version):
    return LabelDoc(
        key=version,
        campaign_id=campaign.key,
        structure_key="a" * 64,
        settings_key="b" * 64,
        status="done",
        labeler="vasp",
        labeler_version=version,
        ancestry=Ancestry(source="seed"),
        formula="Cu",
        elements=["Cu"],
        n_atoms=1,
        volume_A3=12.0,
        frame=campaign.structures,
    )


def test_jobs_without_a_workflow_are_removed(submitted):
    stray = submitted.database.fireworks.find_one({}, {"_id": 0})
    submitted.database.fireworks.insert_one(stray | {"fw_id": 900, "state": "READY"})
    (problem,) = problems(submitted)
    assert "1 Fireworks belong to no workflow: 900" in problem.what
    fixed(problem)
    assert submitted.database.fireworks.count_documents({"fw_id": 900}) == 0


def test_job_of_a_newer_package_is_refused_with_the_remedy(submitted):
    from fireworks import FWorker

    first = submitted.database.fireworks.find_one({"state": "READY"})["fw_id"]
    newer = {"$set": {"spec._tasks.0.version": "99.1.0"}}
    submitted.database.fireworks.update_one({"fw_id": first}, newer)
    assert submitted.launchpad.checkout_fw(FWorker("cpu"), str(submitted.folder)) == (None, None)
    (problem,) = problems(submitted)
    assert "was made by nepal_flows 99.1.0" in problem.what
    assert problem.fix is None
    (failed,) = submitted.queue().fizzled
    assert "Install one version everywhere" in failed.reason


def what_a_store_says_that_went_away():
    store = SimpleNamespace(name="mongo://db/x/records")
    with pytest.raises(StoreUnavailableError) as told, translated_errors(store):
        raise AutoReconnect("db:27017: connection closed")
    return f"nepal_flows.errors.StoreUnavailableError: {told.value}"


AWAY = "pymongo.errors.AutoReconnect: db: refused"


@pytest.mark.parametrize("why", ["SystemExit: 1", AWAY, what_a_store_says_that_went_away()])
def test_job_that_was_interrupted_is_given_to_another(submitted, why):
    from fireworks import FWAction

    fw_id = taken(submitted)
    launch = submitted.database.launches.find_one({"fw_id": fw_id})
    trace = {"_exception": {"_stacktrace": f"Traceback ...\n{why}\n"}}
    submitted.launchpad.complete_launch(launch["launch_id"], FWAction(stored_data=trace), "FIZZLED")
    (problem,) = problems(submitted)
    assert f"was interrupted ({why})" in problem.what
    fixed(problem)
    assert state_of(submitted, fw_id) == "READY"


def test_other_peoples_jobs_are_left_alone(submitted):
    taken(submitted)
    assert len(problems(submitted, lost_after_s=0.0)) == 1
    submitted.database.workflows.update_one({}, {"$unset": {"metadata.campaign_id": ""}})
    assert problems(submitted, lost_after_s=0.0) == []


def test_missing_index_and_dead_claims_are_put_right(submitted, dead_process):
    records = submitted.records
    records.claim("label", "x", owner=dead_process)
    records.claim("label", "y")
    found = {finding.what: finding for finding in store_findings(records) if finding.fix}
    assert any("1 claims are held by processes that are gone" in what for what in found)
    assert any("no index of" in what for what in found)
    for finding in found.values():
        fixed(finding)
    assert [finding for finding in store_findings(records) if finding.fix] == []
    assert submitted.database.records.count_documents({"kind": "claim"}) == 1
    records.release("label", "y")


def test_damaged_bytes_are_named(submitted):
    (document,) = submitted.records.query(CampaignDoc)
    submitted.records.blobs.remove(document.structures)
    found = list(store_findings(submitted.records, reads_blobs=True))
    (problem,) = [finding for finding in found if finding.level == "problem" and not finding.fix]
    assert "structures of the campaign" in problem.what
    assert "is missing" in problem.what


def test_readable_password_is_found_and_closed(tmp_path):
    secret, harmless = tmp_path / "my_launchpad.yaml", tmp_path / "jobflow.yaml"
    secret.write_text("host: db\npassword: abc\n")
    harmless.write_text("host: db\n# password: in your own copy\npassword:\n")
    for file in (secret, harmless):
        file.chmod(0o644)
    (problem,) = open_secrets([secret, harmless])
    assert "my_launchpad.yaml holds a password" in problem.what
    fixed(problem)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert list(open_secrets([secret, harmless])) == []
    uri = tmp_path / "uri.yaml"
    uri.write_text("uri: mongodb://anna:abc@db/\n")
    uri.chmod(0o640)
    assert len(list(open_secrets([uri]))) == 1


@pytest.mark.slow
def test_killed_worker_is_found_by_the_command_and_its_job_done_by_another(site, write_campaign):
    path = write_campaign(site.folder / "campaign", budget={"labels": 14, "iterations": 1})
    site.submit(path)
    worker = site.start_worker("cpu", name="first")
    wait_until_running(site, "train")
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    lost = site.nepal("doctor", code=6).stdout
    assert "(train) is RUNNING, but its process" in lost
    assert "Done" in site.nepal("doctor", "--fix").stdout
    with site.workers(["cpu", "dft"]):
        assert site.wait().end_state == "budget_exhausted"
    assert "Nothing is wrong." in site.nepal("doctor", "--blobs").stdout
    ran = "action.stored_data.nepal_worker.version"
    site.database.launches.update_one({ran: {"$exists": True}}, {"$set": {ran: "0.0.1"}})
    notes = [finding.what for finding in site_findings(site.launchpad, directories=())]
    assert any("runs nepal_flows 0.0.1" in note for note in notes)


@pytest.mark.slow
def test_worker_that_is_told_to_end_gives_its_job_back(site, write_campaign):
    path = write_campaign(site.folder / "campaign", budget={"labels": 14, "iterations": 1})
    site.submit(path)
    worker = site.start_worker("cpu", name="first")
    fw_id = wait_until_running(site, "train")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 128 + signal.SIGTERM
    assert state_of(site, fw_id) == "READY"
    assert problems(site) == []


def wait_until_running(site, name, timeout_s=200.0):
    """Return the id of a job of this name once it runs; a labelling worker helps it to come."""
    running = {"name": name, "state": "RUNNING"}
    began = time.monotonic()
    with site.workers(["dft"]):
        while time.monotonic() - began < timeout_s:
            found = site.database.fireworks.find_one(running)
            launch = found and site.database.launches.find_one(
                {"launch_id": {"$in": found["launches"]}, "nepal_worker": {"$exists": True}}
            )
            if launch:
                return found["fw_id"]
            time.sleep(0.02)
    raise AssertionError(f"{name} did not begin.\n{site.logs()}")
