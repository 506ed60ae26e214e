"""What every stage shares: the campaign it works for, and how its job is configured."""

from dataclasses import dataclass, field

from jobflow import JobConfig, Maker

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.io.frames import unpack_frames
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc

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


__all__ = ["DECIDING", "STAGE", "StageMaker", "starting_structures"]
