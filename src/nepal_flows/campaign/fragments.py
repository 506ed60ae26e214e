"""What the plan says of cells that are carved: a sample of the fragments, and what forbids them."""

import math

from nepal_flows.campaign.model import Campaign
from nepal_flows.core.carving.boxes import centred_box, smallest_length
from nepal_flows.core.carving.distances import pair_distances
from nepal_flows.core.carving.fragments import cut_fragment
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError


def labelled_sample(campaign: Campaign, start: Structure) -> Structure:
    """Return what a label of a condition looks like: the start, or a fragment of it.

    Raises
    ------
    CarvingError
        If the start is large but nowhere thicker than a fragment.
    """
    section = campaign.carving
    if not section.carves(start.n_atoms):
        return start
    radius = section.core_radius_A or max(campaign.model.cutoff_A)
    distances = pair_distances(start)
    length = smallest_length(radius, distances)
    region = AtomBins(start).region(0, 0.5 * math.sqrt(3.0) * length + 1.0)
    return cut_fragment(region, centred_box(region, length), radius).structure


def carving_words(campaign: Campaign, start: Structure) -> str:
    """Return why and how the cells of a condition are carved; empty where they are not."""
    section = campaign.carving
    if not section.carves(start.n_atoms):
        return ""
    try:
        n_atoms = labelled_sample(campaign, start).n_atoms
    except CarvingError as error:
        return f"cannot be carved: {error}"
    return (
        f"{start.n_atoms} atoms, more than `carving.parent_atoms` {section.parent_atoms}: carved "
        f"into fragments of {n_atoms} to {section.max_atoms} atoms by method {section.method}"
    )


__all__ = ["carving_words", "labelled_sample"]
