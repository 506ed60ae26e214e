"""A campaign on this machine: register it, run it from where it stands, survive being stopped."""

import contextlib
import logging
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.read import LoadedCampaign, load_campaign
from nepal_flows.engines.pool import close_shared_pool
from nepal_flows.engines.warmup import compile_kernels_once
from nepal_flows.errors import CampaignError, EngineError, RecordError, TrainingError
from nepal_flows.flows.campaign import CampaignMaker
from nepal_flows.flows.imports import imported_model_key
from nepal_flows.flows.registration import register_campaign
from nepal_flows.flows.steps import next_step
from nepal_flows.jobs.dataset import campaign_dataset
from nepal_flows.jobs.labeler import label_settings_key
from nepal_flows.jobs.progress import Listener, progress_listener, report_progress
from nepal_flows.jobs.stage import starting_structures
from nepal_flows.records import (
    CampaignLock,
    Records,
    damaged_blobs,
    job_store_from_settings,
    label_key,
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

STOPPED = "It was stopped on request; everything that had finished is kept."
"""Why a campaign is marked stopped."""


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
        Whether quarantined labels, and those whose bytes were damaged, are made again.

    Raises
    ------
    CampaignError
        If the file is wrong, or differs in what may not change from the campaign in the folder.
    CampaignLockedError
        If another process runs it.
    EngineError, TrainingError
        If labels, exploration or training failed as a whole; the campaign is marked failed.
    KeyboardInterrupt
        When a person ends it; the campaign is marked stopped.
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
            remove_failed(records, document.key, loaded.campaign)
        if approve:
            approve_waiting(records, document.key)
        try:
            with progress_listener(listener or _silent), warnings.catch_warnings():
                compile_kernels_once(progress=partial(report_progress, "compile kernels"))
                flow = remaining_flow(records, loaded.campaign, document)
                # jobflow 0.4 calls monty's cd, which warns once a job.
                warnings.filterwarnings("ignore", "cd is deprecated", FutureWarning)
                run_locally(
                    flow, store=job_store, log=False, root_dir=folder, raise_immediately=True
                )
        except KeyboardInterrupt:
            mark_stopped(records, document.key)
            raise
        except (EngineError, TrainingError) as error:
            failed = {"end_state": "failed", "end_reasons": [str(error)]}
            records.replace(records.load(CampaignDoc, document.key).model_copy(update=failed))
            raise
        finally:
            close_shared_pool()
        document = records.load(CampaignDoc, document.key)
        waiting = None if document.end_state else waiting_selection(records, document.key)
        return CampaignRun(document, records, folder, waiting)


def mark_stopped(records: Records, campaign_id: str) -> None:
    """Record that a person ended the run, unless the campaign had ended already."""
    with contextlib.suppress(RecordError):  # it counts as interrupted then
        document = records.load(CampaignDoc, campaign_id)
        if document.end_state is None:
            stopped = {"end_state": "stopped", "end_reasons": [STOPPED]}
            records.replace(document.model_copy(update=stopped))


def campaign_flow(
    path: str | Path,
    job_store: "JobStore",
    *,
    routes: dict[str, str] | None = None,
    label_bundle: int | None = None,
    explore_bundle: int | None = None,
) -> "Flow":
    """Return the flow of a campaign file, registered in a store, for any jobflow manager.

    Parameters
    ----------
    path
        The campaign file.
    job_store
        Where the workers of the manager will look.
    routes, label_bundle, explore_bundle
        See :func:`remaining_flow`.

    Raises
    ------
    CampaignError
        If the file is wrong.
    """
    loaded = load_campaign(path)
    records = Records(job_store)
    return remaining_flow(
        records,
        loaded.campaign,
        register_campaign(records, loaded),
        routes=routes,
        label_bundle=label_bundle,
        explore_bundle=explore_bundle,
    )


def remaining_flow(
    records: Records,
    campaign: Campaign,
    document: CampaignDoc,
    *,
    routes: dict[str, str] | None = None,
    label_bundle: int | None = None,
    explore_bundle: int | None = None,
) -> "Flow":
    """Return what is left of a campaign: missing labels, then its last iteration on, or its end.

    Parameters
    ----------
    records, campaign, document
        Where, what is asked for now, and how it is registered.
    routes
        Worker by job name; see :func:`routed`.
    label_bundle, explore_bundle
        Labels and runs per job; None for all in one job.
    """
    maker = CampaignMaker(
        campaign=campaign,
        routes=routes or {},
        label_bundle=label_bundle,
        explore_bundle=explore_bundle,
    )
    last = last_iteration(records, document.key)
    if last is None:
        start = imported_model_key(records, document.key)
        return maker.make(CampaignState(campaign_id=document.key, previous_model_key=start))
    dataset = campaign_dataset(records, document.key, campaign)
    counts = {"n_labels_total": dataset.n_labels, "n_labels_failed": len(dataset.quarantined)}
    step = next_step(last.model_copy(update=counts), campaign)
    rest = maker.following(step)
    return maker.after_labels(rest, unlabelled_selections(records, document.key, campaign))


def unlabelled_selections(records: Records, campaign_id: str, campaign: Campaign) -> list[str]:
    """Return the keys of finished iterations' selections of which labels are missing."""
    settings = label_settings_key(campaign, starting_structures(records, campaign_id))
    finished = {
        row["iteration"]
        for row in records.rows(IterationDoc, {"campaign_id": campaign_id}, ["iteration"])
    }
    missing = []
    for selection in records.query(SelectionDoc, {"campaign_id": campaign_id}):
        if selection.iteration is not None and selection.iteration not in finished:
            continue
        keys = [label_key(frame.structure_key, settings) for frame in selection.selected]
        if any(records.find(LabelDoc, key) is None for key in keys):
            missing.append(selection.key)
    return sorted(missing)


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


def remove_failed(records: Records, campaign_id: str, campaign: Campaign) -> int:
    """Remove a campaign's quarantined and damaged labels, to be made again; return how many.

    Also those that another campaign, or ``nepal label``, had asked for first.
    """
    dataset = campaign_dataset(records, campaign_id, campaign)
    done = [entry.label for entry in (*dataset.train, *dataset.holdout)]
    failed = [entry.label.key for entry in dataset.quarantined]
    failed += [item.document.key for item in damaged_blobs(records.blobs, done)]
    for key in failed:
        records.remove(LabelDoc, key)
    return len(failed)


def waiting_selection(records: Records, campaign_id: str) -> str | None:
    """Return the key of the newest selection with frames to label and no approval, or None.

    None too where the campaign asks nobody (``pause_before_label`` is off).
    """
    if not records.load(CampaignDoc, campaign_id).settings.get("pause_before_label"):
        return None
    criteria = {"campaign_id": campaign_id}
    for selection in records.query(SelectionDoc, criteria, sort={"created_at": -1}):
        structures = {frame.structure_key for frame in selection.selected}
        query = {"structure_key": {"$in": sorted(structures)}}
        labelled = {
            row["structure_key"] for row in records.rows(LabelDoc, query, ["structure_key"])
        }
        if structures - labelled:
            is_approved = records.find(ApprovalDoc, selection.key) is not None
            return None if is_approved else selection.key
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
    "mark_stopped",
    "remaining_flow",
    "remove_failed",
    "run_campaign",
    "waiting_selection",
    "with_validation_seed",
]
