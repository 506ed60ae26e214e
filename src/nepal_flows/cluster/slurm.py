"""What SLURM says of its jobs, where there is SLURM."""

import shutil
import socket
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

_ANSWER_WITHIN_S = 20.0


def _this_host() -> frozenset[str]:
    return frozenset({socket.gethostname()})


@dataclass(frozen=True)
class SlurmQueue:
    """The queue of one cluster.

    Attributes
    ----------
    cluster
        Its name.
    job_ids
        Jobs that wait, run or are being ended.
    hosts
        Its nodes, and this machine.
    """

    cluster: str
    job_ids: frozenset[str]
    hosts: frozenset[str] = field(default_factory=_this_host)

    def is_home_of(self, cluster: str | None, host: str) -> bool:
        """Return whether a job is one of this queue: numbers of jobs repeat on every cluster.

        Parameters
        ----------
        cluster
            What the job said of its cluster, None where it said nothing.
        host
            Where it runs, or where it was submitted if it waits.
        """
        if cluster:
            return cluster == self.cluster
        return _short(host) in map(_short, self.hosts)


def slurm_queue() -> SlurmQueue | None:
    """Return the queue that this machine submits to, None without SLURM or without its answer.

    ``squeue`` is asked, as accounting (``sacct``) is not kept everywhere.
    """
    jobs = _answer("squeue", "--noheader", "--format=%A")
    config = _answer("scontrol", "show", "config")
    if jobs is None or config is None:
        return None
    names = [line.split("=")[1].strip() for line in config.splitlines() if "ClusterName" in line]
    nodes = _answer("sinfo", "--noheader", "--Node", "--format=%n") or ""
    return SlurmQueue(
        cluster=names[0] if names else "",
        job_ids=frozenset(jobs.split()),
        hosts=_this_host() | frozenset(nodes.split()),
    )


def _short(host: str) -> str:
    return host.partition(".")[0]


def cancel_slurm_jobs(job_ids: Iterable[str]) -> None:
    """End jobs of the queue that this machine submits to; those that are over are passed over."""
    for job in job_ids:
        _answer("scancel", job)


def _answer(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None


__all__ = ["SlurmQueue", "cancel_slurm_jobs", "slurm_queue"]
