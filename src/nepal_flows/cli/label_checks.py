"""The check of a labeler on the smallest rattled cell of a campaign."""

import tempfile

import numpy as np

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.core.lattices import supercell
from nepal_flows.core.seeds import deformed, random_deformation, rattled
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.engines.pool import shared_pool
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.labelers.consistency import Consistency, check_consistency


def checked_labels(loaded: LoadedCampaign) -> Consistency:
    """Return how far the campaign's labeler contradicts itself.

    Raises
    ------
    LabelError
        If the program is not there, or a label of the check fails.
    """
    labeler = labeler_of(loaded.campaign, loaded.structures)
    labeler.check(loaded.campaign.model.elements)
    rng = np.random.default_rng(loaded.campaign.seed)
    cell = primitive_cell(loaded.structures[0])
    if cell.n_atoms == 1:  # a lone atom feels no force, whatever its label says
        cell = supercell(cell, np.array([1, 1, 2]))
    sample = rattled(deformed(cell, random_deformation(rng, 0.01)), 0.05, rng)
    with tempfile.TemporaryDirectory() as scratch:
        return check_consistency(
            labeler,
            sample,
            pool=shared_pool(loaded.campaign.resources.workers, preload=("nepal_flows.labelers",)),
            time_limit_s=loaded.campaign.labels.time_limit_s,
            scratch=scratch,
        )


__all__ = ["checked_labels"]
