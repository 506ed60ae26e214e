"""A campaign on this machine: register it, run it from where it stands, survive being stopped."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.read import LoadedCampaign, load_campaign
from nepal_flows.engines.pool import close_shared_pool
from nepal_flows.errors import CampaignError, EngineError, TrainingError
from nepal_flows.flows.campaign import CampaignMaker
from nepal_flows.flows.imports import imported_model_key
from nepal_flows.flows.registration import register_campaign
from nepal_flows.flows.steps import next_step
from nepal_flows.jobs.dataset import campaign_dataset
from nepal_flows.jobs.progress import Listener, progress_listener
from nepal_flows.records import (
    CampaignLock,
    Records,
    job_store_from_settings,
)
from nepal_flows.schemas import (
    ApprovalDoc,
    CampaignDoc,
    CampaignState,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
)
from nepal_flows.settings import read_settings

if TYPE_CHECKING:
    from jobflow import Flow
    from jobflow.core.store import JobStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CampaignRun:
    """What a run of a campaign came to.

    Attributes
    ----------
    campaign
        The campaign as it stands; ``end_state`` is None if it goes on.
    records
        Its records, for queries and the report.
    directory
        Its folder.
    waiting_selection
        Key of the selection that waits for a person's approval, or None.
    """

    campaign: CampaignDoc
    records: Records
    directory: Path
    waiting_selection: str | None = None


def run_campaign(
    path: str | Path,
    *,
    directory: str | Path | None = None,
    listener: Listener | None = None,
    validation_seed: int | None = None,
    approve: bool = False,
    retry_failed: bool = False,
) -> CampaignRun:
    """Run a campaign file to its end on this machine, from wherever it stands.

    Parameters
    ----------
    path
        The campaign file.
    directory
        Its folder; by default beside the file, named after the campaign.
    listener
        Called with every sign of progress.
    validation_seed
        Seed of the teacher's trajectories, instead of the file's.
    approve
        Whether the selection that waits (``pause_before_label``) may be labelled.
    retry_failed
        Whether quarantined labels are tried again.

    Raises
    ------
    CampaignError
        If the file is wrong, or differs in what may not change from the campaign in the folder.
    CampaignLockedError
        If another process runs it.
    EngineError, TrainingError
        If labels, exploration or training failed as a whole; the campaign is marked failed.
    """
    from jobflow import run_locally  # noqa: PLC0415 - half a second

    loaded = with_validation_seed(load_campaign(path), validation_seed)
    folder = Path(directory) if directory else loaded.directory
    folder.mkdir(parents=True, exist_ok=True)
    with CampaignLock(folder):
        job_store = job_store_from_settings(folder / "store", kind=read_settings().store)
        records = Records(job_store)
        document = register_campaign(records, loaded)
        if retry_failed:
            remove_quarantined(records, document.key, loaded.campaign)
        if approve:
            approve_waiting(records, document.key)
        flow = remaining_flow(records, loaded.campaign, document)
        try:
            with progress_listener(listener or _silent), warnings.catch_warnings():
                # jobflow 0.4 calls monty's cd, which warns once a job.
                warnings.filterwarnings("ignore", "cd is deprecated", FutureWarning)
                run_locally(
                    flow, store=job_store, log=False, root_dir=folder, raise_immediately=True
                )
        except (EngineError, TrainingError) as error:
            failed = {"end_state": "failed", "end_reasons": [str(error)]}
            records.replace(records.load(CampaignDoc, document.key).model_copy(update=failed))
            raise
        finally:
            close_shared_pool()
        document = records.load(CampaignDoc, document.key)
        waiting = None if document.end_state else waiting_selection(records, document.key)
        return CampaignRun(document, records, folder, waiting)


def campaign_flow(path: str | Path, job_store: "JobStore") -> "Flow":
    """Return the flow of a campaign file, registered in a store, for any jobflow manager.

    Raises
    ------
    CampaignError
        If the file is wrong.
    """
    loaded = load_campaign(path)
    records = Records(job_store)
    return remaining_flow(records, loaded.campaign, register_campaign(records, loaded))


def remaining_flow(records: Records, campaign: Campaign, document: CampaignDoc) -> "Flow":
    """Return what is left of a campaign: from its last iteration on, or its end."""
    maker = CampaignMaker(campaign=campaign)
    last = last_iteration(records, document.key)
    if last is None:
        start = imported_model_key(records, document.key)
        return maker.make(CampaignState(campaign_id=document.key, previous_model_key=start))
    step = next_step(last, campaign)
    if step.end_state is None:
        return maker.make(step.state)
    return maker.finish(step.state, step.end_state, list(step.reasons))


def last_iteration(records: Records, campaign_id: str) -> IterationDoc | None:
    """Return the newest finished iteration of a campaign, or None."""
    criteria = {"campaign_id": campaign_id}
    return next(records.query(IterationDoc, criteria, sort={"iteration": -1}, limit=1), None)


def with_validation_seed(loaded: LoadedCampaign, seed: int | None) -> LoadedCampaign:
    """Return the campaign with another seed for the teacher's trajectories.

    Raises
    ------
    CampaignError
        If a seed is given for a campaign without validation.
    """
    if seed is None:
        return loaded
    section = loaded.campaign.validation
    if section is None:
        raise CampaignError(
            "`--validation-seed` was given, but the campaign file has no `validation` section."
        )
    validation = section.model_copy(update={"seed": seed})
    campaign = loaded.campaign.model_copy(update={"validation": validation})
    return LoadedCampaign(loaded.path, campaign, loaded.structures)


def remove_quarantined(records: Records, campaign_id: str, campaign: Campaign) -> int:
    """Remove a campaign's quarantined labels, so that they are tried again; return how many.

    Also those that another campaign, or ``nepal label``, had asked for first.
    """
    quarantined = campaign_dataset(records, campaign_id, campaign).quarantined
    for entry in quarantined:
        records.remove(LabelDoc, entry.label.key)
    return len(quarantined)


def waiting_selection(records: Records, campaign_id: str) -> str | None:
    """Return the key of the newest selection that has not been approved, or None."""
    criteria = {"campaign_id": campaign_id}
    for selection in records.query(SelectionDoc, criteria, sort={"created_at": -1}, limit=1):
        if selection.selected and records.find(ApprovalDoc, selection.key) is None:
            return selection.key
    return None


def approve_waiting(records: Records, campaign_id: str) -> None:
    """Let the selection that waits be labelled."""
    key = waiting_selection(records, campaign_id)
    if key is not None:
        records.put(ApprovalDoc(key=key, campaign_id=campaign_id))


def _silent(_: Any) -> None:
    """Listen to nothing."""


__all__ = [
    "CampaignRun",
    "approve_waiting",
    "campaign_flow",
    "last_iteration",
    "remaining_flow",
    "remove_quarantined",
    "run_campaign",
    "waiting_selection",
    "with_validation_seed",
]
