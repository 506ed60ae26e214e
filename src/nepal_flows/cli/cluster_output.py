"""How the queue of a campaign is shown."""

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nepal_flows.cluster.queue import CampaignQueue
    from nepal_flows.cluster.stop import Stopped
    from nepal_flows.cluster.submit import Submission
    from nepal_flows.schemas import CampaignDoc

_MOST_SHOWN = 5
_ORDER = ("RUNNING", "RESERVED", "READY", "WAITING", "PAUSED", "FIZZLED")


def submission_content(submission: "Submission") -> dict[str, Any]:
    """Return the JSON document of a submission."""
    campaign = submission.campaign
    return {
        "campaign": campaign.name,
        "campaign_id": campaign.key,
        "is_new": submission.is_new,
        "end_state": campaign.end_state,
        "queue": queue_content(submission.queue),
    }


def submission_lines(submission: "Submission") -> list[str]:
    """Return what became of a submission as text; the campaign's id stands first."""
    name, queue = submission.campaign.name, submission.queue
    watch = [f"Watch it with: nepal status {name} --watch"]
    if submission.is_new:
        state = "submitted"
    elif queue.is_active:
        state = "is in the queue already: nothing was added"
    elif queue.is_blocked:
        state = "is in the queue, but does not go on: nothing was added"
        watch = [f"See `nepal doctor`, or begin anew from what is there: nepal resume {name}"]
    else:
        state = f"has ended ({submission.campaign.end_state}): nothing was added"
        watch = ["To go on, raise its budget: nepal extend FILE --labels N --iterations N"]
    return [f"{submission.campaign.key}: {name} {state}", *queue_lines(queue), *watch]


def stopped_lines(stopped: "Stopped") -> list[str]:
    """Return what became of a campaign that was stopped as text."""
    name = stopped.campaign.name
    from nepal_flows.cluster.submit import OVER

    end_state = stopped.campaign.end_state
    lines = [f"{name}: {end_state}; nothing of it is queued any more"]
    if stopped.n_ended:
        lines.append(f"  ended       {stopped.n_ended} jobs that ran, or waited in the queue")
    lines += [
        f"  goes on     {job.name} (Firework {job.fw_id}) on {job.host}, to its end"
        for job in stopped.running
    ]
    if end_state in OVER:
        return [*lines, "To go on, raise its budget: nepal extend FILE --labels N --iterations N"]
    return [*lines, f"Go on with: nepal resume {name}"]


def queue_content(queue: "CampaignQueue") -> dict[str, Any]:
    """Return the JSON document of a queue."""
    return {
        "workflows": queue.workflows,
        "n_open": len(queue.jobs),
        "n_completed": queue.n_completed,
        "counts": queue.counts,
        "is_active": queue.is_active,
        "is_blocked": queue.is_blocked,
        "jobs": queue.jobs,
    }


def queue_lines(queue: "CampaignQueue") -> list[str]:
    """Return the jobs of a campaign as text: how many in each state, what runs, what failed."""
    if not queue.jobs and queue.is_changing:
        return [f"  queue       being written just now; {queue.n_completed} jobs were done"]
    if not queue.jobs:
        return [f"  queue       nothing left; {queue.n_completed} jobs were done"]
    parts = [f"{queue.counts[s]} {s.lower()}" for s in _ORDER if s in queue.counts]
    where = ", ".join(map(str, queue.workflows))
    lines = [
        f"  queue       {', '.join(parts)}, {queue.n_completed} completed "
        f"(workflow{'s' * (len(queue.workflows) > 1)} of Firework {where})"
    ]
    at_work = Counter(
        (job.name, job.worker, job.state)
        for job in queue.jobs
        if job.state in ("RUNNING", "RESERVED", "READY")
    )
    shown = [
        f"{n} x {name} {_VERBS[state]} {worker or 'any worker'}"
        for (name, worker, state), n in at_work.items()
    ]
    if shown:
        lines.append(f"  jobs        {'; '.join(shown)}")
    lines += [
        f"  failed      {job.name} (Firework {job.fw_id}): {job.reason}"
        for job in queue.fizzled[:_MOST_SHOWN]
    ]
    return lines


def next_lines(campaign: "CampaignDoc", queue: "CampaignQueue") -> list[str]:
    """Return what to do next with a campaign in the queue, none where it goes on by itself."""
    if queue.is_active:
        return []
    if queue.is_blocked:
        step = f"`nepal doctor` says what to do; or begin anew: nepal resume {campaign.name}"
    elif campaign.end_state == "converged":
        step = f"nepal export {campaign.name}"
    elif campaign.end_state in ("budget_exhausted", "stalled"):
        step = "give it more: nepal extend FILE --labels N --iterations N"
    elif campaign.settings.get("pause_before_label"):
        step = f"look at the report, then: nepal resume {campaign.name} --approve"
    else:
        step = f"nepal resume {campaign.name}"
    return [f"  next        {step}"]


_VERBS = {"RUNNING": "on", "RESERVED": "queued for", "READY": "waiting for"}

__all__ = [
    "next_lines",
    "queue_content",
    "queue_lines",
    "stopped_lines",
    "submission_content",
    "submission_lines",
]
