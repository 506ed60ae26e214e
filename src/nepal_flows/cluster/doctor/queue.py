"""Trouble in the FireWorks database: lost runs, failed jobs, states that contradict each other."""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

from fireworks import LaunchPad, fw_config

from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.cluster.queue import LOST, OVER, UNREADABLE, failure_reasons
from nepal_flows.cluster.running import reservation
from nepal_flows.cluster.slurm import SlurmQueue
from nepal_flows.records.owner import is_known_dead

_AWAY = tuple(
    f"pymongo.errors.{name}"
    for name in ("AutoReconnect", "NetworkTimeout", "ServerSelectionTimeoutError")
)
_INTERRUPTED = ("SystemExit", "KeyboardInterrupt", LOST, *_AWAY)
_TASK = "{{nepal_flows.cluster.firetask.CampaignFiretask}}"
_MOST_NAMED = 10
_PATIENCE_S = 3.0
_DAY = dt.timedelta(days=1)


def queue_findings(
    launchpad: LaunchPad, slurm: SlurmQueue | None, *, lost_after_s: float | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with the jobs of campaigns; those of other workflows are left alone.

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
    jobs = _open_jobs(launchpad)
    counts = Counter(job["state"] for job in jobs)
    shown = ", ".join(f"{n} {state.lower()}" for state, n in sorted(counts.items()))
    yield Finding("ok", f"Queue: {shown or 'no job of a campaign'}.")
    running = [job for job in jobs if job["state"] == "RUNNING"]
    yield from _runs(launchpad, running, slurm, silence_s)
    yield from _lost_reservations(launchpad, jobs, slurm, silence_s)
    yield from _locked_workflows(launchpad)
    yield from _forgotten(launchpad)
    yield from _orphans(launchpad)
    yield from _fizzled(launchpad, [job for job in jobs if job["state"] == "FIZZLED"])
    yield from _unserved(launchpad, jobs)


def _open_jobs(launchpad: LaunchPad) -> list[dict[str, Any]]:
    """Return the jobs of campaigns that are not over."""
    nodes = [node for workflow in _workflows(launchpad) for node in workflow["nodes"]]
    fields = {"fw_id": 1, "name": 1, "state": 1, "launches": 1, "spec._fworker": 1, UNREADABLE: 1}
    criteria = {"fw_id": {"$in": nodes}, "state": {"$nin": list(OVER)}}
    return sorted(launchpad.fireworks.find(criteria, fields), key=itemgetter("fw_id"))


def _workflows(launchpad: LaunchPad, **criteria: Any) -> list[dict[str, Any]]:
    of_campaigns = {"metadata.campaign_id": {"$exists": True}, **criteria}
    return list(launchpad.workflows.find(of_campaigns, {"nodes": 1, "name": 1, "updated_on": 1}))


def _runs(
    launchpad: LaunchPad,
    running: Sequence[Mapping[str, Any]],
    slurm: SlurmQueue | None,
    silence_s: float,
) -> Iterator[Finding]:
    """Yield runs that are lost, and those whose end was not told: their worker died in between."""
    fields = {"launch_id": 1, "state": 1, "nepal_worker": 1, "state_history": 1, "host": 1}
    for job in running:
        launches = launchpad.launches.find({"launch_id": {"$in": job["launches"]}}, fields)
        by_state = {launch["state"]: launch for launch in launches}
        launch = by_state.get("RUNNING")
        if launch is None:
            ended = " and ".join(sorted(by_state)) or "gone"
            retell = launchpad._refresh_wf if by_state else launchpad.rerun_fw
            yield Finding(
                "problem",
                f"{_named(job)} is RUNNING, but its launch is {ended}.",
                "the states of its workflow are worked out anew.",
                partial(retell, job["fw_id"]),
            )
            continue
        reason = _why_lost(launch, slurm, silence_s)
        if reason is not None:
            yield Finding(
                "problem",
                f"{_named(job)} is RUNNING, but {reason}.",
                "it is given to another worker; what it had stored is kept.",
                partial(_run_again, launchpad, job["fw_id"], launch["launch_id"]),
            )


def _why_lost(launch: Mapping[str, Any], slurm: SlurmQueue | None, silence_s: float) -> str | None:
    worker = launch.get("nepal_worker") or {}
    if worker.get("process") and is_known_dead(worker["process"]):
        return f"its process on {worker['host']} is gone"
    job = worker.get("slurm_job") or reservation(launch)  # it may have died before it signed
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


def _lost_reservations(
    launchpad: LaunchPad,
    jobs: Sequence[Mapping[str, Any]],
    slurm: SlurmQueue | None,
    silence_s: float,
) -> Iterator[Finding]:
    """Yield reservations for a job of the queue that is gone, or was never submitted."""
    reserved = {job["fw_id"]: job for job in jobs if job["state"] == "RESERVED"}
    launches = list(
        launchpad.launches.find(
            {"state": {"$in": ["RESERVED", "RUNNING"]}, "fw_id": {"$in": sorted(reserved)}},
            {"launch_id": 1, "fw_id": 1, "state": 1, "state_history": 1},
        )
    )
    yield from _half_taken(launchpad, reserved, {launch["fw_id"] for launch in launches})
    for launch in launches:
        job = reservation(launch)
        if launch["state"] != "RESERVED":
            continue
        if job is None and _silence_s(launch) > silence_s:
            what = "is RESERVED, but no job was submitted for it."
        elif job is not None and slurm is not None and job not in slurm.job_ids:
            what = f"is RESERVED for job {job}, which SLURM has not any more."
        else:
            continue
        yield Finding(
            "problem",
            f"{_named(reserved[launch['fw_id']])} {what}",
            "the reservation is taken back, so that another worker takes it.",
            partial(launchpad.cancel_reservation, launch["launch_id"]),
        )


def _half_taken(
    launchpad: LaunchPad, reserved: Mapping[int, Mapping[str, Any]], launched: set[int]
) -> Iterator[Finding]:
    """Yield jobs whose worker died between reserving them and saying that it launches them."""
    suspects = [fw_id for fw_id in reserved if fw_id not in launched]
    if not suspects:
        return
    time.sleep(_PATIENCE_S)  # this is so for a moment whenever a job is taken
    for fw_id in suspects:
        still = {"fw_id": fw_id, "state": "RESERVED", "launches": reserved[fw_id]["launches"]}
        if launchpad.fireworks.count_documents(still):
            yield Finding(
                "problem",
                f"{_named(reserved[fw_id])} is RESERVED, but nobody launches it.",
                "it is given to another worker.",
                partial(launchpad.rerun_fw, fw_id),
            )


def _locked_workflows(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield workflows that stay locked though nobody changes them: the one who did has died."""
    locked = _workflows(launchpad, locked=True)
    if not locked:
        return
    time.sleep(_PATIENCE_S)
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
    time.sleep(_PATIENCE_S)  # this is so for a moment whenever a job ends
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
    states = {job["fw_id"]: job["state"] for job in _open_jobs(launchpad)}
    found = {}
    for workflow in _workflows(launchpad):
        mine = sorted(node for node in workflow["nodes"] if node in states)
        if {states[node] for node in mine} == {"WAITING"}:
            found[min(workflow["nodes"])] = tuple(mine)
    return found


def _refresh(launchpad: LaunchPad, fw_ids: tuple[int, ...]) -> None:
    for fw_id in fw_ids:
        launchpad._refresh_wf(fw_id)


def _orphans(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield jobs that belong to no workflow: their worker died while it appended them."""
    ours = {"spec._tasks._fw_name": _TASK, "state": {"$nin": list(OVER)}}
    fw_ids = [row["fw_id"] for row in launchpad.fireworks.find(ours, {"fw_id": 1})]
    held = launchpad.workflows.find({"nodes": {"$in": fw_ids}}, {"nodes": 1})
    orphans = sorted(set(fw_ids) - {node for workflow in held for node in workflow["nodes"]})
    if orphans:
        yield Finding(
            "problem",
            f"{len(orphans)} Fireworks belong to no workflow: {_some(orphans)}.",
            "they are removed; the job that made them makes them again when it is run anew.",
            partial(launchpad.fireworks.delete_many, {"fw_id": {"$in": orphans}}),
        )


def _fizzled(launchpad: LaunchPad, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    reasons = failure_reasons(launchpad, jobs)
    for job in jobs[:_MOST_NAMED]:
        reason = reasons[job["fw_id"]]
        if reason.startswith(_INTERRUPTED):
            yield Finding(
                "problem",
                f"{_named(job)} was interrupted ({reason}).",
                "it is given to another worker; what it had stored is kept.",
                partial(launchpad.rerun_fw, job["fw_id"]),
            )
        else:
            yield Finding(
                "problem",
                f"{_named(job)} failed: {reason}",
                f"Remove the cause, then: lpad rerun_fws -i {job['fw_id']}; or begin anew from "
                "what is stored: nepal resume CAMPAIGN.",
            )
    if len(jobs) > _MOST_NAMED:
        yield Finding("note", f"... and {len(jobs) - _MOST_NAMED} more jobs failed.")


def _unserved(launchpad: LaunchPad, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield workers that jobs wait for, but that took none for a day."""
    ready = (job["spec"].get("_fworker") for job in jobs if job["state"] == "READY")
    for worker, n_jobs in Counter(ready).items():
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
