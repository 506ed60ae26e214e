"""Take a campaign out of the queue."""

from dataclasses import dataclass

from fireworks import LaunchPad

from nepal_flows.cluster.queue import campaign_queue
from nepal_flows.cluster.running import RunningJob, end_jobs, running_jobs
from nepal_flows.cluster.workflows import sole_submission
from nepal_flows.errors import CampaignLockedError
from nepal_flows.flows.local import mark_stopped
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc

_MOST_SWEEPS = 10


@dataclass(frozen=True)
class Stopped:
    """A campaign that was taken out of the queue.

    Attributes
    ----------
    campaign
        As it stands.
    running
        Jobs that go on to their end, because nobody asked to end them or nobody can from here.
    n_ended
        Jobs that were ended.
    """

    campaign: CampaignDoc
    running: tuple[RunningJob, ...]
    n_ended: int = 0


def stop_campaign(
    launchpad: LaunchPad, records: Records, campaign_id: str, *, now: bool = False
) -> Stopped:
    """Mark a campaign stopped, and take all its jobs out of the queue.

    Parameters
    ----------
    launchpad, records, campaign_id
        Where, and which campaign.
    now
        Whether jobs that run are ended too; else they go on to their end: what they make is
        stored, and nothing comes after them.

    Raises
    ------
    CampaignLockedError
        If somebody else changes its workflows all the while.
    """
    mark_stopped(records, campaign_id)
    with sole_submission(records, campaign_id):
        running = running_jobs(launchpad, campaign_id)  # withdrawing forgets who runs them
        withdraw_jobs(launchpad, campaign_id)
    left = end_jobs(running) if now else running
    campaign = records.load(CampaignDoc, campaign_id)
    return Stopped(campaign, tuple(left), n_ended=len(running) - len(left))


def withdraw_jobs(launchpad: LaunchPad, campaign_id: str) -> int:
    """Take all jobs of a campaign that are not over out of the queue; return how many there were.

    A job that ends meanwhile may append others, hence several sweeps.

    Raises
    ------
    CampaignLockedError
        If FireWorks writes its workflows all the while, or somebody died who did.
    """
    withdrawn: set[int] = set()
    for _ in range(_MOST_SWEEPS):
        queue = campaign_queue(launchpad, campaign_id, with_harmless=True)
        if queue.is_empty:
            return len(withdrawn)
        if queue.is_changing:  # there may be more, and what is locked cannot be withdrawn
            continue
        for job in queue.jobs:
            launchpad.defuse_fw(job.fw_id)
            withdrawn.add(job.fw_id)
    raise CampaignLockedError(
        f"Jobs of the campaign {campaign_id} are still in the queue: its workflows change all the "
        "while, or somebody died who changed them. See `nepal doctor --fix`, then try again."
    )


__all__ = ["Stopped", "stop_campaign", "withdraw_jobs"]
