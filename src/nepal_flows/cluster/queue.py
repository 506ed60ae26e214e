"""What of a campaign is in the FireWorks database: its workflows, its jobs, and their states."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nepal_flows.cluster.queue_database import QueueDatabase

_WORKING = ("READY", "RESERVED", "RUNNING")
_HELD_UP = ("FIZZLED", "PAUSED")

UNREADABLE = "spec._exception_details._stacktrace"
"""Where FireWorks writes why no worker could read a job."""

LOST = "no error was recorded: the worker was lost"
"""Reason of a job that ended without one."""

OVER = ("COMPLETED", "DEFUSED", "ARCHIVED")
"""States of a job that is not to run any more."""

_READINGS = 20
_BETWEEN_READINGS_S = 0.1


@dataclass(frozen=True)
class QueuedJob:
    """A job that is not over.

    Attributes
    ----------
    fw_id, name, state, worker
        As FireWorks has them; ``worker`` is None where any may take it.
    launch_id
        Its newest launch, or None.
    reason
        Last line of the error of a fizzled job, or empty.
    """

    fw_id: int
    name: str
    state: str
    worker: str | None
    launch_id: int | None
    reason: str = ""


@dataclass(frozen=True)
class CampaignQueue:
    """The jobs of a campaign.

    Attributes
    ----------
    workflows
        First Firework of each of its workflows that are not over, oldest first.
    jobs
        Those that are not over, in the order in which they were made.
    n_completed
        Jobs that were done, in all its workflows.
    is_changing
        Whether FireWorks was still writing when it was read: jobs may be missing.
    """

    workflows: tuple[int, ...]
    jobs: tuple[QueuedJob, ...]
    n_completed: int
    is_changing: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """Number of jobs that are not over, by state."""
        return dict(Counter(job.state for job in self.jobs))

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is to run any more, nor about to be added."""
        return not self.jobs and not self.is_changing

    @property
    def is_active(self) -> bool:
        """Whether it goes on by itself: a job runs, waits for a worker, or is about to.

        While FireWorks writes down the end of a job, those behind it still wait for it.
        """
        return not self.is_empty and not self.is_blocked

    @property
    def fizzled(self) -> tuple[QueuedJob, ...]:
        """Jobs that ended in an error and hold up those behind them."""
        return tuple(job for job in self.jobs if job.state == "FIZZLED")

    @property
    def is_blocked(self) -> bool:
        """Whether nothing goes on because of jobs that failed or were paused."""
        states = {job.state for job in self.jobs}
        return not states.isdisjoint(_HELD_UP) and states.isdisjoint(_WORKING)


def campaign_queue(
    launchpad: QueueDatabase, campaign_id: str, *, with_harmless: bool = False
) -> CampaignQueue:
    """Return what of a campaign is queued; completed jobs are counted, not read.

    Parameters
    ----------
    launchpad, campaign_id
        Where, and of which campaign.
    with_harmless
        Whether failed jobs count whose failure those behind them put up with.
    """
    workflows, rows, is_changing = _consistent(launchpad, campaign_id)
    nodes = [node for workflow in workflows for node in workflow["nodes"]]
    reasons = failure_reasons(launchpad, [row for row in rows if row["state"] == "FIZZLED"])
    jobs = tuple(
        QueuedJob(
            fw_id=row["fw_id"],
            name=row["name"],
            state=row["state"],
            worker=row["spec"].get("_fworker"),
            launch_id=_newest(row),
            reason=reasons.get(row["fw_id"], ""),
        )
        for row in sorted(rows, key=lambda row: row["fw_id"])
    )
    open_nodes = {job.fw_id for job in jobs}
    n_completed = launchpad.fireworks.count_documents(
        {"fw_id": {"$in": nodes}, "state": "COMPLETED"}
    )
    open_workflows = [min(w["nodes"]) for w in workflows if open_nodes.intersection(w["nodes"])]
    jobs = jobs if with_harmless else _without_harmless(launchpad, jobs)
    return CampaignQueue(tuple(open_workflows), jobs, n_completed, is_changing)


def _consistent(
    launchpad: QueueDatabase, campaign_id: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], bool]:
    """Return the workflows of a campaign, their jobs that are not over, and whether they change.

    When a job ends, FireWorks marks it, adds its children and then names them in the workflow,
    which it locks meanwhile. Between these steps a campaign that goes on looks as if nothing of it
    were queued; so what was read is read again until no such step lies between.
    """
    fields = {"fw_id": 1, "name": 1, "state": 1, "spec._fworker": 1, "launches": 1, UNREADABLE: 1}
    for reading in range(_READINGS):
        if reading:
            time.sleep(_BETWEEN_READINGS_S)
        workflows = campaign_workflows(launchpad, campaign_id)
        nodes = [node for workflow in workflows for node in workflow["nodes"]]
        query = {"fw_id": {"$in": nodes}, "state": {"$nin": list(OVER)}}
        rows = list(launchpad.fireworks.find(query, fields))
        after = list(
            launchpad.workflows.find(
                {"metadata.campaign_id": campaign_id}, {"nodes": 1, "locked": 1}
            )
        )
        is_locked = any("locked" in workflow for workflow in after)
        if not is_locked and sorted(nodes) == sorted(n for w in after for n in w["nodes"]):
            return workflows, rows, False
    return workflows, rows, True


def campaign_workflows(launchpad: QueueDatabase, campaign_id: str) -> list[dict[str, Any]]:
    """Return the workflows of a campaign, oldest first, with state, nodes, links and metadata."""
    fields = {"nodes": 1, "links": 1, "state": 1, "name": 1, "metadata": 1}
    found = launchpad.workflows.find({"metadata.campaign_id": campaign_id}, fields)
    return sorted(found, key=lambda workflow: min(workflow["nodes"]))


def failure_reasons(
    launchpad: QueueDatabase, fizzled: Sequence[Mapping[str, Any]]
) -> dict[int, str]:
    """Return the last line of the error of failed jobs, by Firework.

    Parameters
    ----------
    launchpad
        The database.
    fizzled
        Jobs with ``fw_id``, ``launches``, and what is kept of those that no worker could read.
    """
    trace = "action.stored_data._exception._stacktrace"
    newest = {_newest(row): row["fw_id"] for row in fizzled if row.get("launches")}
    launches = launchpad.launches.find(
        {"launch_id": {"$in": list(newest)}}, {"launch_id": 1, trace: 1}
    )
    traces = {newest[launch["launch_id"]]: _at(launch, trace) for launch in launches}
    traces |= {row["fw_id"]: _at(row, UNREADABLE) for row in fizzled if _at(row, UNREADABLE)}
    return {row["fw_id"]: _last_line(traces.get(row["fw_id"])) for row in fizzled}


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _last_line(trace: str | None) -> str:
    lines = [line.strip() for line in (trace or "").splitlines() if line.strip()]
    return lines[-1] if lines else LOST


def _newest(firework: Mapping[str, Any]) -> int | None:
    launches = firework.get("launches") or []
    return max(launches) if launches else None


def _without_harmless(launchpad: QueueDatabase, jobs: Sequence[QueuedJob]) -> tuple[QueuedJob, ...]:
    """Return the jobs without those whose failure their children put up with."""
    fizzled = [job.fw_id for job in jobs if job.state == "FIZZLED"]
    if not fizzled:
        return tuple(jobs)
    harmless = set(_put_up_with(launchpad, fizzled))
    return tuple(job for job in jobs if job.fw_id not in harmless)


def _put_up_with(launchpad: QueueDatabase, fizzled: Sequence[int]) -> Iterator[int]:
    links: dict[int, list[int]] = {}
    for workflow in launchpad.workflows.find({"nodes": {"$in": list(fizzled)}}, {"links": 1}):
        links |= {int(parent): children for parent, children in workflow["links"].items()}
    children = sorted({child for parent in fizzled for child in links.get(parent, [])})
    tolerant = {
        row["fw_id"]
        for row in launchpad.fireworks.find(
            {"fw_id": {"$in": children}, "spec._allow_fizzled_parents": True}, {"fw_id": 1}
        )
    }
    for parent in fizzled:
        if links.get(parent) and tolerant.issuperset(links[parent]):
            yield parent


__all__ = [
    "LOST",
    "OVER",
    "UNREADABLE",
    "CampaignQueue",
    "QueuedJob",
    "campaign_queue",
    "campaign_workflows",
    "failure_reasons",
]
