"""Campaigns that nobody works on though they have not ended, and labels that may not agree."""

from collections.abc import Iterator
from functools import partial

from fireworks import LaunchPad

from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.cluster.queue import campaign_queue
from nepal_flows.cluster.submit import resume_campaign
from nepal_flows.flows.local import waiting_selection
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc, LabelDoc
from nepal_flows.settings import Settings


def campaign_findings(
    launchpad: LaunchPad, records: Records, *, settings: Settings
) -> Iterator[Finding]:
    """Yield campaigns that have not ended: those of two versions of a code, and those left alone.

    These were submitted, wait for nobody, and have no job left.

    FireWorks writes the end of a job and what comes after it one after the other: a worker or a
    database that dies in between leaves a workflow that is complete, and a campaign that is not.

    Parameters
    ----------
    launchpad, records
        The queue, and the store.
    settings
        Of the site.
    """
    for campaign in records.query(CampaignDoc, {"end_state": None}):
        yield from _several_versions(records, campaign)
        queue = campaign_queue(launchpad, campaign.key)
        was_submitted = queue.n_completed > 0
        if not queue.is_empty or not was_submitted:
            continue
        if records.load(CampaignDoc, campaign.key).end_state is not None:  # it has just ended
            continue
        if waiting_selection(records, campaign.key) is not None:
            continue
        yield Finding(
            "problem",
            f"The campaign {campaign.name} has not ended, but no job of it is in the queue.",
            f"it is put into the queue again, as `nepal resume {campaign.name}` does.",
            partial(resume_campaign, launchpad, records, campaign.key, settings=settings),
        )


def _several_versions(records: Records, campaign: CampaignDoc) -> Iterator[Finding]:
    """Yield a campaign whose labels were made by several versions of the code: jobs warn unseen."""
    own = {"campaign_id": campaign.key, "status": "done"}
    rows = records.rows(LabelDoc, own, ["labeler_version"])
    versions = sorted({row["labeler_version"] for row in rows} - {None})
    if len(versions) > 1:
        yield Finding(
            "note",
            f"Labels of {campaign.name} were made by {' and '.join(versions)}.",
            "Compare them: nepal check-labels FILE --versions makes one label of each again.",
        )


__all__ = ["campaign_findings"]
