"""Trouble in the FireWorks database: lost runs, failed jobs, states that contradict each other."""

import datetime as dt
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

from fireworks import LaunchPad, fw_config

from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.cluster.queue import LOST, OVER, UNREADABLE, failure_reasons
from nepal_flows.cluster.running import reservation
from nepal_flows.cluster.slurm import SlurmQueue
from nepal_flows.records.connection import SERVER_IS_AWAY
from nepal_flows.records.owner import is_known_dead

_AWAY: tuple[str, ...] = tuple(
    f"pymongo.errors.{name}"
    for name in ("AutoReconnect", "NetworkTimeout", "ServerSelectionTimeoutError")
)
_AWAY += (f"nepal_flows.errors.StoreUnavailableError: {SERVER_IS_AWAY}",)
_INTERRUPTED = ("SystemExit", "KeyboardInterrupt", LOST, *_AWAY)
_TASK = "{{nepal_flows.cluster.firetask.CampaignFiretask}}"
_MOST_NAMED = 10
_PATIENCE_S = 3.0
_PATIENCE_WITH_LOCKS_S = 15.0
_DAY = dt.timedelta(days=1)
_MOST_LAUNCHES = 6
"""After so many starts an interrupted job is given to nobody any more; walltime gives three."""


AskSlurm = Callable[[], SlurmQueue | None]


def queue_findings(
    launchpad: LaunchPad, slurm: AskSlurm, *, lost_after_s: float | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with the jobs of campaigns; those of other workflows are left alone.

    The site works on while it is looked at. A job is lost if the database says that it runs both
    before and after SLURM was asked, and SLURM does not know it: one that has just begun is known
    to SLURM by then, and one that has just ended does not run any more.

    Parameters
    ----------
    launchpad
        The database.
    slurm
        Asks the queue that this machine submits to, to know which jobs are gone.
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
    names = ("fw_id", "name", "state", "launches", "archived_launches", "spec._fworker", UNREADABLE)
    fields = dict.fromkeys(names, 1)
    criteria = {"fw_id": {"$in": nodes}, "state": {"$nin": list(OVER)}}
    return sorted(launchpad.fireworks.find(criteria, fields), key=itemgetter("fw_id"))


def _workflows(launchpad: LaunchPad, **criteria: Any) -> list[dict[str, Any]]:
    of_campaigns = {"metadata.campaign_id": {"$exists": True}, **criteria}
    return list(launchpad.workflows.find(of_campaigns, {"nodes": 1, "name": 1, "updated_on": 1}))


def _runs(
    launchpad: LaunchPad, running: Sequence[Mapping[str, Any]], slurm: AskSlurm, silence_s: float
) -> Iterator[Finding]:
    """Yield runs that are lost, and those whose end was not told: their worker died in between."""
    ids = [launch_id for job in running for launch_id in job["launches"]]
    launches = _launches(launchpad, {"launch_id": {"$in": ids}})
    queue = slurm() if launches else None
    for job in running:
        by_state = {launches[i]["state"]: launches[i] for i in job["launches"] if i in launches}
        launch = by_state.get("RUNNING")
        if launch is None:
            yield from _untold(launchpad, job, sorted(by_state))
            continue
        reason = _why_lost(launch, queue, silence_s)
        if reason is None or not _is_still(launchpad, launch):
            continue
        if _n_launches(job) >= _MOST_LAUNCHES:
            yield Finding(
                "problem",
                f"{_named(job)} is RUNNING, but {reason}; {_too_often(job)}.",
                f"it is marked as failed. {_what_it_lacks(job)}",
                partial(_mark_failed, launchpad, launch["launch_id"]),
            )
        else:
            yield Finding(
                "problem",
                f"{_named(job)} is RUNNING, but {reason}.",
                "it is given to another worker; what it had stored is kept.",
                partial(_run_again, launchpad, job["fw_id"], launch["launch_id"]),
            )


def _n_launches(job: Mapping[str, Any]) -> int:
    return len(job.get("archived_launches") or []) + len(job["launches"])


def _too_often(job: Mapping[str, Any]) -> str:
    return f"it was started {_n_launches(job)} times and never finished"


def _what_it_lacks(job: Mapping[str, Any]) -> str:
    return (
        "Most often memory or time is short: see the end of its output, and "
        "`sacct -o JobID,State,Elapsed,MaxRSS`. Give its worker more (my_qadapter.yaml), then: "
        f"lpad rerun_fws -i {job['fw_id']}"
    )


def _mark_failed(launchpad: LaunchPad, launch_id: int) -> None:
    if launchpad.launches.count_documents({"launch_id": launch_id, "state": "RUNNING"}):
        launchpad.mark_fizzled(launch_id)


def _launches(launchpad: LaunchPad, criteria: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    fields = ("launch_id", "fw_id", "state", "nepal_worker", "state_history", "host", "launch_dir")
    found = launchpad.launches.find(criteria, dict.fromkeys(fields, 1))
    return {launch["launch_id"]: launch for launch in found}


def _is_still(launchpad: LaunchPad, launch: Mapping[str, Any]) -> bool:
    """Return whether a launch is in the state in which it was read."""
    same = {"launch_id": launch["launch_id"], "state": launch["state"]}
    return bool(launchpad.launches.count_documents(same))


def _untold(
    launchpad: LaunchPad, job: Mapping[str, Any], ended: Sequence[str]
) -> Iterator[Finding]:
    """Yield a job that runs without a launch that does."""
    time.sleep(_PATIENCE_S)  # this is so for a moment whenever a job ends
    still = {"fw_id": job["fw_id"], "state": "RUNNING", "launches": job["launches"]}
    if launchpad.fireworks.count_documents(still):
        retell = launchpad._refresh_wf if ended else launchpad.rerun_fw
        yield Finding(
            "problem",
            f"{_named(job)} is RUNNING, but its launch is {' and '.join(ended) or 'gone'}.",
            "the states of its workflow are worked out anew.",
            partial(retell, job["fw_id"]),
        )


def _why_lost(launch: Mapping[str, Any], slurm: SlurmQueue | None, silence_s: float) -> str | None:
    worker = launch.get("nepal_worker") or {}
    if worker.get("process") and is_known_dead(worker["process"]):
        return f"its process on {worker['host']} is gone"
    job = worker.get("slurm_job") or reservation(launch)  # it may have died before it signed
    if job and slurm and _is_known_to(slurm, worker.get("slurm_cluster"), launch):
        return None if job in slurm.job_ids else f"SLURM has no job {job} any more"
    silent_s = _silence_s(launch)
    if silent_s > silence_s:
        return f"nothing was heard of it for {silent_s / 60.0:.0f} min (host {launch.get('host')})"
    return None


def _is_known_to(slurm: SlurmQueue, cluster: str | None, launch: Mapping[str, Any]) -> bool:
    """Return whether SLURM would tell us of the job of a launch if it were there."""
    if not slurm.is_home_of(cluster, launch.get("host") or ""):
        return False
    return not slurm.is_private or _is_mine(Path(launch.get("launch_dir") or "/"))


def _is_mine(directory: Path) -> bool:
    try:
        return directory.stat().st_uid == os.getuid()
    except OSError:
        return False


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
    running = {"launch_id": launch_id, "state": "RUNNING"}
    if launchpad.launches.update_one(running, {"$set": {"state": "FIZZLED"}}).matched_count:
        launchpad.rerun_fw(fw_id)


def _lost_reservations(
    launchpad: LaunchPad, jobs: Sequence[Mapping[str, Any]], slurm: AskSlurm, silence_s: float
) -> Iterator[Finding]:
    """Yield reservations for a job of the queue that is gone, or was never submitted."""
    reserved = {job["fw_id"]: job for job in jobs if job["state"] == "RESERVED"}
    taken = {"state": {"$in": ["RESERVED", "RUNNING"]}, "fw_id": {"$in": sorted(reserved)}}
    launches = _launches(launchpad, taken)
    queue = slurm() if launches else None
    yield from _half_taken(launchpad, reserved, {item["fw_id"] for item in launches.values()})
    for launch in launches.values():
        if launch["state"] != "RESERVED":
            continue
        what = _why_not_coming(launch, queue, silence_s)
        if what is not None and _is_still(launchpad, launch):
            yield Finding(
                "problem",
                f"{_named(reserved[launch['fw_id']])} is RESERVED {what}",
                "the reservation is taken back, so that another worker takes it.",
                partial(launchpad.cancel_reservation, launch["launch_id"]),
            )


def _why_not_coming(
    launch: Mapping[str, Any], slurm: SlurmQueue | None, silence_s: float
) -> str | None:
    job = reservation(launch)
    if job is None:
        return ", but no job was submitted for it." if _silence_s(launch) > silence_s else None
    if slurm is None or job in slurm.job_ids or not _is_known_to(slurm, None, launch):
        return None
    return f"for job {job}, which SLURM has not any more."


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
    """Yield workflows that stay locked though nobody changes them: the one who did has died.

    Patience is long here: two who change a workflow at once lose jobs of it.
    """
    locked, began = _workflows(launchpad, locked=True), time.monotonic()
    while locked and time.monotonic() - began < _PATIENCE_WITH_LOCKS_S:
        time.sleep(1.0)
        locked = [workflow for workflow in locked if _is_locked(launchpad, workflow)]
    for workflow in locked:
        yield Finding(
            "problem",
            f"The workflow of Firework {min(workflow['nodes'])} ({workflow['name']}) is locked "
            "by somebody who died.",
            "it is unlocked.",
            partial(launchpad.workflows.update_one, _as_seen(workflow), {"$unset": {"locked": ""}}),
        )


def _is_locked(launchpad: LaunchPad, workflow: Mapping[str, Any]) -> bool:
    return bool(launchpad.workflows.count_documents(_as_seen(workflow)))


def _as_seen(workflow: Mapping[str, Any]) -> dict[str, Any]:
    return {"_id": workflow["_id"], "locked": True, "updated_on": workflow["updated_on"]}


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
    """Yield jobs that belong to no workflow: their worker died while it appended them.

    FireWorks writes jobs before the workflow that names them, which it locks if it is there: what
    belongs to no workflow at first sight is left alone until it has been so for a while.
    """
    suspects, locked = _strays(launchpad)
    if not suspects:
        return
    time.sleep(_PATIENCE_S)
    strays, still_locked = _strays(launchpad)
    orphans = sorted(suspects & strays)
    if orphans and not locked & still_locked:
        yield Finding(
            "problem",
            f"{len(orphans)} Fireworks belong to no workflow: {_some(orphans)}.",
            "they are removed; the job that made them makes them again when it is run anew.",
            partial(launchpad.fireworks.delete_many, {"fw_id": {"$in": orphans}}),
        )


def _strays(launchpad: LaunchPad) -> tuple[set[int], set[Any]]:
    """Return our jobs that no workflow names, and the workflows that are locked."""
    ours = {"spec._tasks._fw_name": _TASK, "state": {"$nin": list(OVER)}}
    fw_ids = [row["fw_id"] for row in launchpad.fireworks.find(ours, {"fw_id": 1})]
    held = launchpad.workflows.find({"nodes": {"$in": fw_ids}}, {"nodes": 1})
    named = {node for workflow in held for node in workflow["nodes"]}
    locked = launchpad.workflows.find({"locked": {"$exists": True}}, {"_id": 1})
    return set(fw_ids) - named, {workflow["_id"] for workflow in locked}


def _fizzled(launchpad: LaunchPad, jobs: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    reasons = failure_reasons(launchpad, jobs)
    for job in jobs[:_MOST_NAMED]:
        reason = reasons[job["fw_id"]]
        if reason.startswith(_INTERRUPTED) and _n_launches(job) >= _MOST_LAUNCHES:
            yield Finding(
                "problem",
                f"{_named(job)} failed ({reason}): {_too_often(job)}.",
                _what_it_lacks(job) + ".",
            )
        elif reason.startswith(_INTERRUPTED):
            yield Finding(
                "problem",
                f"{_named(job)} was interrupted ({reason}).",
                "it is given to another worker; what it had stored is kept.",
                partial(_run_failed_again, launchpad, job),
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


def _run_failed_again(launchpad: LaunchPad, job: Mapping[str, Any]) -> None:
    still = {"fw_id": job["fw_id"], "state": "FIZZLED", "launches": job["launches"]}
    if launchpad.fireworks.count_documents(still):  # nobody else gave it back meanwhile
        launchpad.rerun_fw(job["fw_id"])


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
            "another name, say so in `workers` of ~/.nepal_flows.yaml, then `nepal stop` and "
            "`nepal resume` the campaign: what is queued keeps the name it was sent to.",
        )


def _named(firework: Mapping[str, Any]) -> str:
    return f"Firework {firework['fw_id']} ({firework['name']})"


def _some(numbers: list[int]) -> str:
    text = ", ".join(map(str, numbers[:_MOST_NAMED]))
    return text + (", ..." if len(numbers) > _MOST_NAMED else "")


__all__ = ["queue_findings"]
