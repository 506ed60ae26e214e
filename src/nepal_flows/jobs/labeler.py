"""From the campaign file's labels section to a labeler."""

from collections.abc import Sequence

from nepal_flows.campaign import AseLabels, Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.labelers import AseLabeler, Labeler
from nepal_flows.records import settings_key


def labeler_of(campaign: Campaign, structures: Sequence[Structure]) -> Labeler:
    """Return the labeler that a campaign asks for.

    Parameters
    ----------
    campaign
        The campaign.
    structures
        Its starting structures; the first is the primitive cell of folded k-point grids.
    """
    section = campaign.labels
    if isinstance(section, AseLabels):
        return AseLabeler(calculator=section.calculator, arguments=section.arguments)
    raise AssertionError(section)


def label_settings_key(campaign: Campaign, structures: Sequence[Structure]) -> str:
    """Return the key of the physics of a campaign's labels."""
    return settings_key(labeler_of(campaign, structures).physics())


__all__ = ["label_settings_key", "labeler_of"]
