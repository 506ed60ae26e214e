"""SLURM on one machine: munged, slurmctld and slurmd of our own, on 127.0.0.1, without cgroups.

Debian's packages munge and slurm-wlm, run as root. Three partitions stand for the nodes of a
cluster; all are this machine, which says that it has more cores than it has.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster_site import BIN, LOST_AFTER_S, Site
from mongo_servers import free_port
from nepal_flows.cluster.doctor import fixed, queue_findings
from nepal_flows.cluster.slurm import SlurmQueue, slurm_queue

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
PARTITIONS = ("gpu", "dft", "cpu")
SLURM_ANSWERS = (
    *(f"{kind}_partition={kind}" for kind in PARTITIONS),
    *(f"{kind}_walltime=0:30:00" for kind in PARTITIONS),
    *(f"{kind}_cores=1" for kind in PARTITIONS),
    f"activate=export PATH={BIN}:$PATH PYTHONPATH={os.environ.get('PYTHONPATH', '')}",
)
"""To `nepal init --cluster`, for workers in these partitions."""

CONFIGURATION = """\
ClusterName=nepal
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=10
MinJobAge=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=4000 Gres=gpu:1
PartitionName=gpu Nodes={host} MaxTime=1:00:00 State=UP OverSubscribe=FORCE:8
PartitionName=dft Nodes={host} MaxTime=1:00:00 State=UP OverSubscribe=FORCE:8
PartitionName=cpu Nodes={host} MaxTime=1:00:00 State=UP Default=YES OverSubscribe=FORCE:8
"""


def why_no_slurm() -> str | None:
    """Return why SLURM cannot be run here, or None."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: munge slurm-wlm)"
    return None if os.getuid() == 0 else "SLURM's daemons need root"


_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


@dataclass
class Slurm:
    """A SLURM of our own.

    Attributes
    ----------
    folder
        Its configuration, state and logs.
    """

    folder: Path
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What tells SLURM's commands where it is."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _PATH}

    def command(self, *arguments: str) -> str:
        """Return what a command of SLURM prints."""
        done = subprocess.run(
            arguments,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def jobs(self) -> dict[str, str]:
        """Return the names of jobs in the queue, by id."""
        lines = self.command("squeue", "--noheader", "--format=%A %j").splitlines()
        return dict(line.split(maxsplit=1) for line in lines)

    def repair(self, site: Site) -> list[str]:
        """Do what `nepal doctor --fix` does where it sees this SLURM; return what was wrong."""
        findings = queue_findings(site.launchpad, self.queue, lost_after_s=LOST_AFTER_S)
        found = [finding for finding in findings if finding.level == "problem"]
        for finding in found:
            fixed(finding)
        return [finding.what for finding in found]

    def queue(self) -> SlurmQueue | None:
        """Return what this SLURM says of its jobs."""
        before = dict(os.environ)
        os.environ.update(self.environment)
        try:
            return slurm_queue()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def logs(self) -> str:
        """Return the ends of the daemons' logs."""
        files = sorted(self.folder.glob("*.log"))
        return "\n".join(f"== {file.name}\n{file.read_text()[-1500:]}" for file in files)

    def start(self) -> None:
        """Start the daemons, and return once the node takes jobs."""
        munge = self.folder / "munge"
        for folder in (munge, self.folder / "state", self.folder / "spool"):
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        host = socket.gethostname().split(".")[0]
        values = {"host": host, "folder": self.folder}
        values |= {"ctld_port": free_port(), "slurmd_port": free_port()}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        (self.folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
        self._start(
            "munged",
            "--foreground",
            "--force",
            f"--key-file={munge}/key",
            f"--socket={munge}/socket",
            f"--pid-file={munge}/pid",
            f"--log-file={munge}/log",
            f"--seed-file={munge}/seed",
        )
        _wait((munge / "socket").exists, "munged", self.logs)
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D")
        _wait(self._is_ready, "slurmd", self.logs)

    def stop(self) -> None:
        """End all jobs, then the daemons, each by its own process id."""
        for job in list(self._jobs_or_none()):
            subprocess.run(
                ["scancel", "--signal=KILL", job],
                env=os.environ | self.environment,
                check=False,
                timeout=30,
            )
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _jobs_or_none(self) -> list[str]:
        try:
            return list(self.jobs())
        except subprocess.SubprocessError:
            return []

    def _start(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [shutil.which(program, path=_PATH) or program, *arguments],
                    env=os.environ | self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def _is_ready(self) -> bool:
        try:
            return "idle" in self.command("sinfo", "--noheader", "--format=%T")
        except subprocess.SubprocessError:
            return False


@contextmanager
def running_slurm(folder: Path) -> Iterator[Slurm]:
    """Yield a SLURM, which ends with the block."""
    slurm = Slurm(folder)
    try:
        slurm.start()
        yield slurm
    finally:
        slurm.stop()


def slurm_job(site: Site, fw_id: int) -> str | None:
    """Return the SLURM job that runs, or ran, a job; None before it said so."""
    launch = site.database.launches.find_one(
        {"fw_id": fw_id, "nepal_worker.slurm_job": {"$exists": True}}, sort=[("launch_id", -1)]
    )
    return None if launch is None else str(launch["nepal_worker"]["slurm_job"])


def process_id(site: Site, fw_id: int) -> int:
    """Return the process that runs a job."""
    launch = site.database.launches.find_one({"fw_id": fw_id, "state": "RUNNING"})
    assert launch is not None
    return int(launch["nepal_worker"]["process"].split("/")[2])


def _wait(is_ready, what: str, logs, timeout_s: float = 60.0) -> None:
    began = time.monotonic()
    while not is_ready():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"{what} is not ready after {timeout_s:g} s.\n{logs()}")
        time.sleep(0.2)
