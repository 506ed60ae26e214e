"""The check of a labeler on the smallest rattled cell of a campaign."""

import tempfile

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.campaign.structures import check_sample
from nepal_flows.jobs.labeler import label_pool, labeler_of
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
    sample = check_sample(loaded.campaign, loaded.structures[0])
    with tempfile.TemporaryDirectory() as scratch:
        return check_consistency(
            labeler,
            sample,
            pool=label_pool(loaded.campaign, preload=("nepal_flows.labelers",)),
            time_limit_s=loaded.campaign.labels.time_limit_s,
            scratch=scratch,
        )


__all__ = ["checked_labels"]
