"""Trouble in the FireWorks database: lost runs, failed jobs, states that contradict each other."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from fireworks import LaunchPad, fw_config

from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.cluster.queue import failure_reasons
from nepal_flows.cluster.slurm import SlurmQueue
from nepal_flows.records.owner import is_known_dead

_INTERRUPTED = ("SystemExit", "KeyboardInterrupt", "no error was recorded")
_MOST_NAMED = 10
_LOCK_PATIENCE_S = 3.0
_DAY = dt.timedelta(days=1)


def queue_findings(
    launchpad: LaunchPad, slurm: SlurmQueue | None, *, lost_after_s: float | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with the jobs in a database, of campaigns and of others alike.

    Parameters
    ----------
    launchpad
        The database.
    slurm
        The queue that this machine submits to, to know which jobs are gone.
    lost_after_s
        Silence after which a run counts as lost, s; RUN_EXPIRATION_SECS of FW_config.yaml where
        not given.
    """
    silence_s = fw_config.RUN_EXPIRATION_SECS if lost_after_s is None else lost_after_s
    findings = [
        *_lost_runs(launchpad, slurm, silence_s),
        *_lost_reservations(launchpad, slurm),
        *_contradictions(launchpad),
        *_locked_workflows(launchpad),
        *_forgotten(launchpad),
        *_orphans(launchpad),
        *_fizzled(launchpad),
        *_unserved(launchpad),
    ]
    counts = Counter(row["state"] for row in launchpad.fireworks.find({}, {"state": 1}))
    shown = ", ".join(f"{n} {state.lower()}" for state, n in sorted(counts.items())) or "empty"
    yield Finding("ok", f"Queue: {shown}.")
    yield from findings


def _lost_runs(
    launchpad: LaunchPad, slurm: SlurmQueue | None, silence_s: float
) -> Iterator[Finding]:
    for firework in launchpad.fireworks.find(
        {"state": "RUNNING"}, {"fw_id": 1, "name": 1, "launches": 1}
    ):
        launch = launchpad.launches.find_one(
            {"launch_id": {"$in": firework["launches"]}, "state": "RUNNING"},
            {"launch_id": 1, "nepal_worker": 1, "state_history": 1, "host": 1},
            sort=[("launch_id", -1)],
        )
        if launch is None:
            continue  # a contradiction, which is told as such
        reason = _why_lost(launch, slurm, silence_s)
        if reason is not None:
            yield Finding(
                "problem",
                f"{_named(firework)} is RUNNING, but {reason}.",
                "it is given to another worker; what it had stored is kept.",
                partial(_run_again, launchpad, firework["fw_id"], launch["launch_id"]),
            )


def _why_lost(launch: Mapping[str, Any], slurm: SlurmQueue | None, silence_s: float) -> str | None:
    worker = launch.get("nepal_worker") or {}
    if worker.get("process") and is_known_dead(worker["process"]):
        return f"its process on {worker['host']} is gone"
    job = worker.get("slurm_job")
    if job and slurm and worker.get("slurm_cluster") in (None, slurm.cluster):
        return None if job in slurm.job_ids else f"SLURM has no job {job} any more"
    silent_s = _silence_s(launch)
    if silent_s > silence_s:
        return f"nothing was heard of it for {silent_s / 60.0:.0f} min (host {launch.get('host')})"
    return None


def _silence_s(launch: Mapping[str, Any]) -> float:
    """Return the time since the last sign of life of a launch, s."""
    latest = max(
        (
            _instant(entry.get("updated_on") or entry["created_on"])
            for entry in launch["state_history"]
        ),
        default=dt.datetime.now(dt.UTC),
    )
    return (dt.datetime.now(dt.UTC) - latest).total_seconds()


def _instant(value: Any) -> dt.datetime:
    instant = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _run_again(launchpad: LaunchPad, fw_id: int, launch_id: int) -> None:
    launchpad.launches.update_one({"launch_id": launch_id}, {"$set": {"state": "FIZZLED"}})
    launchpad.rerun_fw(fw_id)


def _lost_reservations(launchpad: LaunchPad, slurm: SlurmQueue | None) -> Iterator[Finding]:
    if slurm is None:
        return
    for launch in launchpad.launches.find(
        {"state": "RESERVED"}, {"launch_id": 1, "fw_id": 1, "state_history": 1}
    ):
        jobs = [e["reservation_id"] for e in launch["state_history"] if e.get("reservation_id")]
        firework = launchpad.fireworks.find_one(
            {"fw_id": launch["fw_id"], "state": "RESERVED"}, {"fw_id": 1, "name": 1}
        )
        if firework is None or not jobs or str(jobs[-1]) in slurm.job_ids:
            continue
        yield Finding(
            "problem",
            f"{_named(firework)} is RESERVED for job {jobs[-1]}, which SLURM has not any more.",
            "the reservation is taken back, so that another worker takes it.",
            partial(launchpad.cancel_reservation, launch["launch_id"]),
        )


def _contradictions(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield jobs that end with their launch, but were not told: their worker died in between."""
    for firework in launchpad.fireworks.find(
        {"state": "RUNNING"}, {"fw_id": 1, "name": 1, "launches": 1}
    ):
        states = {
            row["state"]
            for row in launchpad.launches.find(
                {"launch_id": {"$in": firework["launches"]}}, {"state": 1}
            )
        }
        if "RUNNING" not in states and "RESERVED" not in states:
            ended = " and ".join(sorted(states)) or "gone"
            yield Finding(
                "problem",
                f"{_named(firework)} is RUNNING, but its launch is {ended}.",
                "the states of its workflow are worked out anew.",
                partial(launchpad._refresh_wf, firework["fw_id"])
                if states
                else partial(launchpad.rerun_fw, firework["fw_id"]),
            )


def _locked_workflows(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield workflows that stay locked though nobody changes them: the one who did has died."""
    fields = {"nodes": 1, "name": 1, "updated_on": 1}
    locked = list(launchpad.workflows.find({"locked": True}, fields))
    if not locked:
        return
    time.sleep(_LOCK_PATIENCE_S)
    for workflow in locked:
        still = {"_id": workflow["_id"], "locked": True, "updated_on": workflow["updated_on"]}
        if launchpad.workflows.count_documents(still):
            yield Finding(
                "problem",
                f"The workflow of Firework {min(workflow['nodes'])} ({workflow['name']}) is locked "
                "by somebody who died.",
                "it is unlocked.",
                partial(launchpad.workflows.update_one, still, {"$unset": {"locked": ""}}),
            )


def _forgotten(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield workflows in which all wait for one another: nobody told them that a job had ended."""
    suspects = _all_waiting(launchpad)
    if not suspects:
        return
    time.sleep(_LOCK_PATIENCE_S)  # this is so for a moment whenever a job ends
    for first, waiting in _all_waiting(launchpad).items():
        if suspects.get(first) == waiting:
            yield Finding(
                "problem",
                f"In the workflow of Firework {first} {len(waiting)} jobs wait, and none runs.",
                "the states of its jobs are worked out anew.",
                partial(_refresh, launchpad, waiting),
            )


def _all_waiting(launchpad: LaunchPad) -> dict[int, tuple[int, ...]]:
    """Return the jobs of workflows whose open jobs all wait, by the first Firework."""
    over = {"$in": ["COMPLETED", "DEFUSED", "ARCHIVED"]}
    open_jobs = {
        row["fw_id"]: row["state"]
        for row in launchpad.fireworks.find({"state": {"$not": over}}, {"fw_id": 1, "state": 1})
    }
    found = {}
    for workflow in launchpad.workflows.find({"nodes": {"$in": sorted(open_jobs)}}, {"nodes": 1}):
        mine = sorted(node for node in workflow["nodes"] if node in open_jobs)
        if {open_jobs[node] for node in mine} == {"WAITING"}:
            found[min(workflow["nodes"])] = tuple(mine)
    return found


def _refresh(launchpad: LaunchPad, fw_ids: tuple[int, ...]) -> None:
    for fw_id in fw_ids:
        launchpad._refresh_wf(fw_id)


def _orphans(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield jobs that belong to no workflow: their worker died while it appended them."""
    nodes = {node for w in launchpad.workflows.find({}, {"nodes": 1}) for node in w["nodes"]}
    open_states = {"$nin": ["COMPLETED", "ARCHIVED", "DEFUSED"]}
    rows = launchpad.fireworks.find({"state": open_states}, {"fw_id": 1})
    orphans = sorted({row["fw_id"] for row in rows} - nodes)
    if orphans:
        yield Finding(
            "problem",
            f"{len(orphans)} Fireworks belong to no workflow: {_some(orphans)}.",
            "they are removed; the job that made them makes them again when it is run anew.",
            partial(launchpad.fireworks.delete_many, {"fw_id": {"$in": orphans}}),
        )


def _fizzled(launchpad: LaunchPad) -> Iterator[Finding]:
    rows = list(
        launchpad.fireworks.find({"state": "FIZZLED"}, {"fw_id": 1, "name": 1, "launches": 1})
    )
    newest = {row["fw_id"]: max(row["launches"], default=-1) for row in rows}
    reasons = failure_reasons(launchpad, list(newest.values()))
    for row in rows[:_MOST_NAMED]:
        reason = reasons.get(newest[row["fw_id"]], "no error was recorded")
        if reason.startswith(_INTERRUPTED):
            yield Finding(
                "problem",
                f"{_named(row)} was interrupted ({reason}).",
                "it is given to another worker; what it had stored is kept.",
                partial(launchpad.rerun_fw, row["fw_id"]),
            )
        else:
            yield Finding(
                "problem",
                f"{_named(row)} failed: {reason}",
                f"Remove the cause, then: lpad rerun_fws -i {row['fw_id']}; or begin anew from "
                "what is stored: nepal resume CAMPAIGN.",
            )
    if len(rows) > _MOST_NAMED:
        yield Finding("note", f"... and {len(rows) - _MOST_NAMED} more jobs failed.")


def _unserved(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield workers that jobs wait for, but that took none for a day."""
    waiting = Counter(
        row["spec"].get("_fworker")
        for row in launchpad.fireworks.find({"state": "READY"}, {"spec._fworker": 1})
    )
    for worker, n_jobs in waiting.items():
        if worker is None:
            continue
        newest = launchpad.launches.find_one(
            {"fworker.name": worker}, {"time_start": 1}, sort=[("launch_id", -1)]
        )
        started = newest and newest.get("time_start")
        if started and dt.datetime.now(dt.UTC) - _instant(started) < _DAY:
            continue
        yield Finding(
            "note",
            f"{n_jobs} jobs wait for the worker `{worker}`, which took none for a day.",
            f"Start it: qlaunch -c fireworker_configs/{worker} rapidfire. If your worker has "
            "another name, say so in `workers` of ~/.nepal_flows.yaml.",
        )


def _named(firework: Mapping[str, Any]) -> str:
    return f"Firework {firework['fw_id']} ({firework['name']})"


def _some(numbers: list[int]) -> str:
    text = ", ".join(map(str, numbers[:_MOST_NAMED]))
    return text + (", ..." if len(numbers) > _MOST_NAMED else "")


__all__ = ["queue_findings"]
