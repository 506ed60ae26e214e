"""Jobs that run are ended where they run: by `scancel`, or by SIGTERM to a process of this host."""

import signal
import socket
import subprocess
import sys

import pytest

from nepal_flows.cluster.running import RunningJob, end_jobs
from nepal_flows.cluster.slurm import slurm_queue
from nepal_flows.records.lock import CampaignLock
from nepal_flows.records.owner import is_known_dead, process_id_here, this_process

SQUEUE = "#!/bin/sh\necho 41\necho 42\n"
SCONTROL = "#!/bin/sh\necho 'ClusterName             = ours'\n"


@pytest.fixture
def cancelled(tmp_path, monkeypatch):
    """Return a function that tells which jobs a stand-in for `scancel` was asked to end."""
    log = tmp_path / "log"
    programs = {"squeue": SQUEUE, "scontrol": SCONTROL}
    programs["scancel"] = f'#!/bin/sh\necho "$1" >> {log}\n'
    for name, text in programs.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    return lambda: log.read_text().split() if log.exists() else []


def job(**changes):
    known = {"fw_id": 7, "name": "train", "host": "node1", "process": ""}
    return RunningJob(**known | {"slurm_job": None, "slurm_cluster": None} | changes)


def test_job_in_our_queue_is_cancelled_and_that_of_another_cluster_is_left(cancelled):
    ours = job(slurm_job="41", slurm_cluster="ours")
    reserved = job(slurm_job="42", host=socket.gethostname())
    elsewhere = job(slurm_job="42", host="login.elsewhere")
    theirs = job(slurm_job="41", slurm_cluster="theirs")
    over = job(slurm_job="17", slurm_cluster="ours")
    assert end_jobs([ours, reserved, elsewhere, theirs, over]) == [elsewhere, theirs, over]
    assert cancelled() == ["41", "42"]


def test_job_that_may_not_be_cancelled_is_left(cancelled, tmp_path):
    (tmp_path / "scancel").write_text("#!/bin/sh\nexit 1\n")
    theirs = job(slurm_job="41", slurm_cluster="ours")
    assert end_jobs([theirs]) == [theirs]


def test_queue_says_whose_nodes_it_has_and_what_it_keeps_to_itself(cancelled, tmp_path):
    assert not slurm_queue().is_private
    config = "#!/bin/sh\necho 'ClusterName = ours'\necho 'PrivateData = accounts,jobs'\n"
    (tmp_path / "scontrol").write_text(config)
    (tmp_path / "sinfo").write_text("#!/bin/sh\necho node1.hpc\n")
    (tmp_path / "sinfo").chmod(0o755)
    queue = slurm_queue()
    assert queue.is_private
    assert queue.is_home_of("ours", "anywhere")
    assert queue.is_home_of(None, "node1")
    assert queue.is_home_of(None, socket.gethostname())
    assert not queue.is_home_of(None, "node2")
    assert not queue.is_home_of("theirs", "node1")


def test_process_of_this_host_is_told_to_end_and_others_are_left(cancelled):
    code = (
        "import sys, time; from nepal_flows.records.owner import this_process; "
        "print(this_process(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as here:
        name = here.stdout.readline().strip()
        elsewhere = job(process="node9/abc/12/34")
        assert end_jobs([job(process=name), elsewhere]) == [elsewhere]
        assert here.wait(timeout=30) == -signal.SIGTERM
    assert end_jobs([job(process=name)]) == [job(process=name)]
    assert cancelled() == []


def test_process_is_known_by_more_than_its_number():
    assert process_id_here(this_process()) is not None
    host, boot, pid, started = this_process().split("/")
    assert process_id_here(f"{host}/{boot}/{pid}/{int(started) + 1}") is None
    assert process_id_here(f"another/{boot}/{pid}/{started}") is None
    assert process_id_here("") is None


def test_node_of_the_same_name_on_another_cluster_is_not_this_one_rebooted():
    host, _, pid, started = this_process().split("/")
    machine, _, identity = host.partition("#")
    assert is_known_dead(f"{host}/another/{pid}/{started}")
    assert identity
    assert not is_known_dead(f"{machine}#another/another/{pid}/{started}")


def test_lock_tells_who_holds_it(tmp_path):
    lock = CampaignLock(tmp_path)
    assert lock.holder() is None
    with lock:
        host, pid = CampaignLock(tmp_path).holder()
        assert this_process().startswith(host)
        assert f"/{pid}/" in this_process()
    assert lock.holder() is None
