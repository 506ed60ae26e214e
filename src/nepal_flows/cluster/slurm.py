"""What SLURM says of its jobs, where there is SLURM."""

import shutil
import socket
import subprocess
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
    is_private
        Whether only one's own jobs are told (``PrivateData``): those of others may be there.
    """

    cluster: str
    job_ids: frozenset[str]
    hosts: frozenset[str] = field(default_factory=_this_host)
    is_private: bool = False

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
    told = dict(line.partition("=")[::2] for line in config.splitlines())
    values = {name.strip(): value.strip() for name, value in told.items()}
    nodes = _answer("sinfo", "--noheader", "--Node", "--format=%n") or ""
    return SlurmQueue(
        cluster=values.get("ClusterName", ""),
        job_ids=frozenset(jobs.split()),
        hosts=_this_host() | frozenset(nodes.split()),
        is_private="jobs" in values.get("PrivateData", "").split(","),
    )


def _short(host: str) -> str:
    return host.partition(".")[0]


def cancel_slurm_job(job_id: str) -> bool:
    """End a job of the queue that this machine submits to; return False if that is refused."""
    return _answer("scancel", job_id) is not None


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


__all__ = ["SlurmQueue", "cancel_slurm_job", "slurm_queue"]
