"""The labeler of a campaign on this site, and the key of its physics."""

from collections.abc import Sequence

from nepal_flows.campaign import Campaign
from nepal_flows.core.lattices import primitive_cell
from nepal_flows.core.structure import Structure
from nepal_flows.labelers import Labeler, build_labeler
from nepal_flows.records import settings_key
from nepal_flows.settings import read_settings


def labeler_of(campaign: Campaign, structures: Sequence[Structure]) -> Labeler:
    """Return the labeler that a campaign asks for.

    Parameters
    ----------
    campaign
        The campaign.
    structures
        Its starting structures; folded k-point grids are those of the first one's primitive
        cell, of which seeds and runs are multiples.

    Raises
    ------
    CampaignError
        If there is no such calculator, or it cannot be built.
    """
    return build_labeler(
        campaign.labels,
        primitive=primitive_cell(structures[0]),
        elements=list(campaign.model.elements),
        settings=read_settings(),
    )


def label_settings_key(campaign: Campaign, structures: Sequence[Structure]) -> str:
    """Return the key of the physics of a campaign's labels."""
    return settings_key(labeler_of(campaign, structures).physics())


__all__ = ["label_settings_key", "labeler_of"]
