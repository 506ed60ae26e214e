"""The labeler of a campaign on this site, and the key of its physics."""

from collections.abc import Sequence

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.engines.pool import WorkerPool, shared_pool
from nepal_flows.errors import LabelError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.labelers import Labeler, build_labeler
from nepal_flows.records import Records, settings_key
from nepal_flows.schemas import CampaignDoc
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


def label_pool(campaign: Campaign, *, preload: Sequence[str] = ()) -> WorkerPool:
    """Return the processes that make labels side by side; one where each takes all cores by MPI.

    Parameters
    ----------
    campaign
        The campaign.
    preload
        Modules that its processes import first.
    """
    usual = 1 if campaign.labels.code == "vasp" else campaign.resources.workers
    return shared_pool(read_settings().label_workers or usual, preload=preload)


def campaign_labeler(records: Records, campaign: Campaign, campaign_id: str) -> tuple[Labeler, str]:
    """Return the labeler of a running campaign, and the key of its physics.

    Raises
    ------
    LabelError
        If the key is not the one that the campaign was started with: labels made here would not
        mix with those on record.
    """
    document = records.load(CampaignDoc, campaign_id)
    structures = unpack_frames(records.blobs.get(document.structures)).structures
    labeler = labeler_of(campaign, structures)
    settings, registered = settings_key(labeler.physics()), document.fixed.get("labels")
    if registered not in (None, settings):
        raise LabelError(
            f"Labels made here would have settings {settings[:12]}, those of the campaign "
            f"{campaign_id} have {registered[:12]}: they must not mix in one data set. Either "
            "`labels` was changed, or this machine has other pseudopotentials, basis sets or "
            "input sets than the one that started the campaign; make them the same."
        )
    return labeler, settings


def label_settings_key(campaign: Campaign, structures: Sequence[Structure]) -> str:
    """Return the key of the physics of a campaign's labels."""
    return settings_key(labeler_of(campaign, structures).physics())


__all__ = ["campaign_labeler", "label_pool", "label_settings_key", "labeler_of"]
