"""What every stage shares: the campaign it works for, and how its job is configured."""

from dataclasses import dataclass, field

from jobflow import JobConfig, Maker

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.errors import RecordError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.records import Records
from nepal_flows.schemas import ActiveSetDoc, CampaignDoc, TrainingDoc

STAGE = JobConfig(expose_store=True)
"""A stage reads and writes records, so the store is exposed to it."""

DECIDING = JobConfig(expose_store=True, pass_manager_config=False)
"""A job that creates others: its own worker must not become theirs."""


@dataclass
class StageMaker(Maker):
    """A Maker of one stage.

    Attributes
    ----------
    campaign
        All parameters, complete with defaults; a stage reads its own sections.
    """

    name: str = "stage"
    campaign: Campaign = field(kw_only=True)


def starting_structures(records: Records, campaign_id: str) -> tuple[Structure, ...]:
    """Return the structures a campaign begins from, in the order of its file."""
    document = records.load(CampaignDoc, campaign_id)
    return unpack_frames(records.blobs.get(document.structures)).structures


def graded_model(records: Records, active_set: ActiveSetDoc) -> TrainingDoc:
    """Return the model that an active set belongs to.

    Raises
    ------
    RecordError
        If it is not on record.
    """
    if active_set.model_key is not None:
        return records.load(TrainingDoc, active_set.model_key)
    criteria = {"model_sha256": active_set.model_sha256}
    found = next(records.query(TrainingDoc, criteria, limit=1), None)
    if found is None:
        raise RecordError(
            f"The model {active_set.model_sha256[:12]} of an active set is not on record. Run the "
            "campaign again: it is trained anew."
        )
    return found


__all__ = ["DECIDING", "STAGE", "StageMaker", "graded_model", "starting_structures"]
