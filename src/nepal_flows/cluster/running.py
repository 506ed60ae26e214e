"""Who works on a campaign right now, and how to end it."""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fireworks import LaunchPad

from nepal_flows.cluster.queue import QueuedJob, campaign_queue
from nepal_flows.cluster.slurm import SlurmQueue, cancel_slurm_job, slurm_queue
from nepal_flows.records.owner import process_id_here


@dataclass(frozen=True)
class RunningJob:
    """A job that a worker has taken, or that waits in SLURM's queue.

    Attributes
    ----------
    fw_id, name
        Of its Firework.
    host
        Where it runs, or where it was submitted if it waits.
    process
        Name of its worker's process; empty where it waits, or has not said so yet.
    slurm_job, slurm_cluster
        The queue's job that holds it, None outside a queue.
    """

    fw_id: int
    name: str
    host: str
    process: str
    slurm_job: str | None
    slurm_cluster: str | None


def running_jobs(launchpad: LaunchPad, campaign_id: str) -> list[RunningJob]:
    """Return the jobs of a campaign that run or are reserved."""
    jobs = campaign_queue(launchpad, campaign_id, with_harmless=True).jobs
    taken = {job.launch_id: job for job in jobs if job.state in ("RUNNING", "RESERVED")}
    fields = {"launch_id": 1, "host": 1, "nepal_worker": 1, "state_history": 1}
    launches = launchpad.launches.find({"launch_id": {"$in": list(taken)}}, fields)
    return [_running(launch, taken[launch["launch_id"]]) for launch in launches]


def reservation(launch: Mapping[str, Any]) -> str | None:
    """Return the SLURM job for which `qlaunch -r` reserved a launch, None without one."""
    ids = [e["reservation_id"] for e in launch["state_history"] if e.get("reservation_id")]
    return str(ids[-1]) if ids else None


def end_jobs(jobs: Iterable[RunningJob]) -> list[RunningJob]:
    """End jobs by `scancel`, or SIGTERM to a process of this host; return those out of reach."""
    slurm, left = slurm_queue(), []
    for job in jobs:
        process = process_id_here(job.process)
        if _is_in(job, slurm):
            if not cancel_slurm_job(job.slurm_job or ""):  # somebody else's
                left.append(job)
        elif process is not None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(process, signal.SIGTERM)
        else:
            left.append(job)
    return left


def _is_in(job: RunningJob, slurm: SlurmQueue | None) -> bool:
    if slurm is None or not slurm.is_home_of(job.slurm_cluster, job.host):
        return False
    return job.slurm_job in slurm.job_ids


def _running(launch: Mapping[str, Any], job: QueuedJob) -> RunningJob:
    worker = launch.get("nepal_worker") or {}
    return RunningJob(
        fw_id=job.fw_id,
        name=job.name,
        host=worker.get("host") or launch.get("host") or "?",
        process=worker.get("process") or "",
        slurm_job=worker.get("slurm_job") or reservation(launch),
        slurm_cluster=worker.get("slurm_cluster"),
    )


__all__ = ["RunningJob", "end_jobs", "reservation", "running_jobs"]
