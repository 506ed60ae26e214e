"""Read of a campaign what a summary says: the newest documents, and what the others add up to."""

from datetime import UTC, datetime

from nepal_flows.records import Records
from nepal_flows.report.data import ReportData
from nepal_flows.report.reading import DocT, Reader, is_waiting, keys_of, stored_campaign
from nepal_flows.report.totals import campaign_totals
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    ExplorationDoc,
    IterationDoc,
    SelectionDoc,
    TrainingDoc,
    ValidationDoc,
)

N_ROUNDS = 3
"""Newest iterations that are read: a round whose frames are few may have no calibration."""


def newest_data(
    records: Records, campaign_id: str, *, is_running: bool | None = None
) -> ReportData:
    """Return of a campaign what `summary_lines` needs, without reading all its documents.

    Parameters
    ----------
    records
        Where it is kept.
    campaign_id
        Which campaign.
    is_running
        Whether a process holds the campaign's lock, if the caller knows.

    Raises
    ------
    RecordError
        If there is no such campaign. Whatever else is missing is named in ``missing``.
    """
    campaign = stored_campaign(records, campaign_id)
    reader = Reader(records)
    iterations = _newest(records, IterationDoc, campaign, limit=N_ROUNDS)
    models = reader.by_key(
        TrainingDoc, keys_of([campaign.final_model_key], (i.model_key for i in iterations))
    )
    active_sets = reader.by_key(ActiveSetDoc, keys_of([campaign.final_active_set_key]))
    validations = reader.of_campaign(
        ValidationDoc, campaign.key, keys_of([campaign.validation_key])
    )
    newest = _newest(records, SelectionDoc, campaign)
    beginning = list(records.query(SelectionDoc, {"campaign_id": campaign.key, "iteration": None}))
    selections = [*beginning, *(doc for doc in newest if doc.iteration is not None)]
    return ReportData(
        campaign=campaign,
        iterations=tuple(iterations),
        models=tuple(models),
        active_sets=tuple(active_sets),
        explorations=tuple(_newest(records, ExplorationDoc, campaign)),
        selections=tuple(selections),
        validations=tuple(validations),
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        is_running=is_running,
        is_waiting=is_waiting(records, campaign, selections),
        missing=tuple(reader.missing),
        totals=campaign_totals(records, campaign),
    )


def _newest(
    records: Records, kind: type[DocT], campaign: CampaignDoc, *, limit: int = 1
) -> list[DocT]:
    """Return the newest documents of a class, the newest last."""
    criteria = {"campaign_id": campaign.key}
    return list(records.query(kind, criteria, sort={"iteration": -1}, limit=limit))[::-1]


__all__ = ["newest_data"]
