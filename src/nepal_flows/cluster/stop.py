"""Take a campaign out of the queue."""

from fireworks import LaunchPad

from nepal_flows.cluster.queue import campaign_queue
from nepal_flows.cluster.workflows import sole_submission
from nepal_flows.flows.local import mark_stopped
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc

_MOST_SWEEPS = 10


def stop_campaign(launchpad: LaunchPad, records: Records, campaign_id: str) -> CampaignDoc:
    """Mark a campaign stopped, and take all its jobs out of the queue; return its document.

    Jobs that run go on to their end: what they make is stored, and nothing comes after them.
    """
    mark_stopped(records, campaign_id)
    with sole_submission(records, campaign_id):
        withdraw_jobs(launchpad, campaign_id)
    return records.load(CampaignDoc, campaign_id)


def withdraw_jobs(launchpad: LaunchPad, campaign_id: str) -> int:
    """Take all jobs of a campaign that are not over out of the queue; return how many there were.

    A job that ends meanwhile may append others, hence several sweeps.
    """
    withdrawn: set[int] = set()
    for _ in range(_MOST_SWEEPS):
        jobs = campaign_queue(launchpad, campaign_id, with_harmless=True).jobs
        if not jobs:
            break
        for job in jobs:
            launchpad.defuse_fw(job.fw_id)
            withdrawn.add(job.fw_id)
    return len(withdrawn)


__all__ = ["stop_campaign", "withdraw_jobs"]
