"""Put a campaign into the queue, from wherever it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fireworks import LaunchPad, Workflow
from jobflow.managers.fireworks import flow_to_workflow

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.cluster.firetask import adopt
from nepal_flows.cluster.launchpad import prepare_database
from nepal_flows.cluster.queue import CampaignQueue, campaign_queue
from nepal_flows.cluster.stop import withdraw_jobs
from nepal_flows.cluster.workflows import add_once, sole_submission, workflow_metadata
from nepal_flows.errors import CampaignError
from nepal_flows.flows.campaign import CLOSE, DECIDE
from nepal_flows.flows.local import remaining_flow, remove_failed
from nepal_flows.flows.registration import campaign_key, register_campaign
from nepal_flows.jobs.routing import worker_routes
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc
from nepal_flows.settings import Settings

OVER = ("converged", "budget_exhausted", "stalled")
"""How a campaign ends by itself; `nepal extend` goes on."""

CHEAP_LABELS = 25
"""Labels of an ASE calculator per job, where the site does not say."""


@dataclass(frozen=True)
class Submission:
    """What became of a request to submit.

    Attributes
    ----------
    campaign
        The campaign on record.
    queue
        Its jobs in the queue.
    is_new
        Whether a workflow was added; not where the campaign is queued already, or has ended.
    """

    campaign: CampaignDoc
    queue: CampaignQueue
    is_new: bool


def submit_campaign(
    launchpad: LaunchPad, records: Records, loaded: LoadedCampaign, *, settings: Settings
) -> Submission:
    """Register a campaign and add what is left of it to the queue, unless it is there already.

    Parameters
    ----------
    launchpad, records
        The FireWorks database, and the store that workers use too.
    loaded
        The campaign file.
    settings
        Of the site: names of workers, sizes of bundles.

    Raises
    ------
    CampaignError
        If the file asks for something else than the campaign on record.
    """
    prepare_database(launchpad)
    queue = campaign_queue(launchpad, campaign_key(loaded))
    known = records.find(CampaignDoc, campaign_key(loaded))  # its end is written before it leaves
    if known is not None:
        _require_unchanged(known, loaded.campaign)
        if not queue.is_empty or known.end_state in OVER:
            return Submission(known, queue, is_new=False)
    document = register_campaign(records, loaded)
    return _added(launchpad, records, loaded.campaign, document, settings)


def resume_campaign(
    launchpad: LaunchPad,
    records: Records,
    campaign_id: str,
    *,
    settings: Settings,
    retry_failed: bool = False,
) -> Submission:
    """Put a campaign that was stopped, or does not go on, into the queue again.

    What is left of it is worked out from the records; jobs that hold it up are withdrawn. Nothing
    is done to a campaign that is active or has ended.

    Parameters
    ----------
    launchpad, records, campaign_id, settings
        As for `submit_campaign`.
    retry_failed
        Whether quarantined and damaged labels are made again.
    """
    prepare_database(launchpad)
    queue = campaign_queue(launchpad, campaign_id)
    document = records.load(CampaignDoc, campaign_id)  # its end is written before it leaves
    if queue.is_active and document.end_state == "stopped":  # its jobs could not be withdrawn
        document = _marked_open(records, document)
    if queue.is_active or document.end_state in OVER:
        return Submission(document, queue, is_new=False)
    with sole_submission(records, campaign_id):
        withdraw_jobs(launchpad, campaign_id)
    document = _marked_open(records, document)
    campaign = Campaign.model_validate(document.settings)
    if retry_failed:
        remove_failed(records, campaign_id, campaign)
    return _added(launchpad, records, campaign, document, settings)


def _marked_open(records: Records, document: CampaignDoc) -> CampaignDoc:
    document = document.model_copy(update={"end_state": None, "end_reasons": []})
    records.replace(document)
    return document


def extend_campaign(
    launchpad: LaunchPad, records: Records, loaded: LoadedCampaign, *, settings: Settings
) -> Submission:
    """Register what a campaign file asks for now, and go on with that.

    An active campaign takes it up when its iteration ends; one that has ended, or was stopped,
    gets a new workflow, and so does one whose end was decided already: the last jobs of that are
    withdrawn.

    Raises
    ------
    CampaignError
        If the file differs in what may not change, or there is no such campaign.
    """
    prepare_database(launchpad)
    if not records.count(CampaignDoc, {"name": loaded.campaign.name}):
        raise CampaignError(
            f"There is no campaign `{loaded.campaign.name}` to extend. Start one with `nepal "
            "submit`."
        )
    document = register_campaign(records, loaded)
    queue = campaign_queue(launchpad, document.key)
    if any(job.name == CLOSE for job in queue.jobs):
        with sole_submission(records, document.key):
            withdraw_jobs(launchpad, document.key)
    elif not queue.is_empty:
        return Submission(document, queue, is_new=False)
    return _added(launchpad, records, loaded.campaign, document, settings)


def _added(
    launchpad: LaunchPad,
    records: Records,
    campaign: Campaign,
    document: CampaignDoc,
    settings: Settings,
) -> Submission:
    is_new = add_remaining(launchpad, records, campaign, document, settings=settings)
    return Submission(document, campaign_queue(launchpad, document.key), is_new)


def _require_unchanged(known: CampaignDoc, campaign: Campaign) -> None:
    before = Campaign.model_validate(known.settings)
    if before == campaign:
        return
    changed = [
        f"`{name}`"
        for name in Campaign.model_fields
        if getattr(before, name) != getattr(campaign, name)
    ]
    raise CampaignError(
        f"The file asks for other {', '.join(changed)} than the campaign `{known.name}` that was "
        "submitted. `nepal extend` takes the change over; without it, take the change back."
    )


def add_remaining(
    launchpad: LaunchPad,
    records: Records,
    campaign: Campaign,
    document: CampaignDoc,
    *,
    settings: Settings,
    routes: Mapping[str, str] | None = None,
) -> bool:
    """Add what is left of a campaign as a new workflow; return False if it is there already.

    ``routes`` names workers by job, instead of the site's by kind.
    """
    flow = remaining_flow(
        records,
        campaign,
        document,
        routes=dict(routes or worker_routes(campaign, **settings.workers.model_dump())),
        **bundle_sizes(campaign, settings),
    )
    workflow: Workflow = flow_to_workflow(flow, name=flow.name)
    metadata = workflow_metadata(document.key, document.name)
    return add_once(launchpad, records, adopt(workflow, deciding=DECIDE), metadata, again=True)


def bundle_sizes(campaign: Campaign, settings: Settings) -> dict[str, Any]:
    """Return how many labels and runs share a job."""
    engine: str = campaign.exploration.engine
    labels = CHEAP_LABELS if campaign.labels.code == "ase" else 1
    runs = 1 if engine == "gpumd" else campaign.resources.workers
    return {
        "label_bundle": settings.label_bundle or labels,
        "explore_bundle": settings.explore_bundle or runs,
    }


__all__ = [
    "Submission",
    "add_remaining",
    "bundle_sizes",
    "extend_campaign",
    "resume_campaign",
    "submit_campaign",
]
