"""A campaign in the store: what was asked for, and what may not change while it runs."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.errors import CampaignError
from nepal_flows.io.frames import pack_frames
from nepal_flows.jobs.labeler import label_settings_key
from nepal_flows.records import Records, derived_key, structure_key
from nepal_flows.schemas import BlobRef, CampaignDoc

_PACKAGES = ("nepal-flows", "jobflow", "atomate2", "ase", "pymatgen", "numpy", "scipy", "numba")


def register_campaign(records: Records, loaded: LoadedCampaign) -> CampaignDoc:
    """Store the campaign as it is asked for now, and return its document.

    Raises
    ------
    CampaignError
        If a campaign of this name, but with other structures, model, labels or seed, is in the
        store.
    """
    campaign = loaded.campaign
    fixed = fixed_settings(loaded)
    identity = derived_key("campaign", fixed)
    key = campaign_key(loaded)
    for other in records.query(CampaignDoc, {"name": campaign.name}):
        if other.identity != identity:
            raise CampaignError(_what_changed(campaign, other, fixed))
    previous = records.find(CampaignDoc, key)
    document = CampaignDoc(
        key=key,
        campaign_id=key,
        name=campaign.name,
        settings=campaign.model_dump(mode="json"),
        identity=identity,
        fixed=fixed,
        structures=records.blobs.put(pack_frames(loaded.structures), "frames.npz"),
        structure_names=list(campaign.structure_names),
        foundation=_foundation(records, loaded),
        versions=_versions(),
        machine={"system": platform.platform(), "python": platform.python_version()},
    )
    if previous is not None:
        kept = ("created_at", "final_model_key", "final_active_set_key", "n_iterations")
        document = document.model_copy(update={name: getattr(previous, name) for name in kept})
    records.replace(document)
    return document


def campaign_key(loaded: LoadedCampaign) -> str:
    """Return the key under which a campaign is registered: its name and what may not change."""
    return f"{loaded.campaign.name}-{derived_key('campaign', fixed_settings(loaded))[:12]}"


def fixed_settings(loaded: LoadedCampaign) -> dict[str, Any]:
    """Return what may not change while a campaign runs, by section."""
    campaign = loaded.campaign
    return {
        "seed": campaign.seed,
        "structures": [structure_key(structure) for structure in loaded.structures],
        "model": campaign.model.model_dump(mode="json"),
        "labels": label_settings_key(campaign, loaded.structures),
        "seeds": campaign.seeds.model_dump(mode="json"),
    }


def _foundation(records: Records, loaded: LoadedCampaign) -> list[BlobRef]:
    """Store the model that is fine-tuned: workers need not see the user's files."""
    training = loaded.campaign.training
    if training.trainer != "nep" or training.nep.fine_tune is None:
        return []
    folder, files = loaded.path.parent, training.nep.fine_tune
    return [
        records.blobs.put((folder / files.model).read_bytes(), "nep.txt"),
        records.blobs.put((folder / files.restart).read_bytes(), "nep.restart"),
    ]


def _what_changed(campaign: Campaign, other: CampaignDoc, fixed: dict[str, Any]) -> str:
    if fixed["labels"] != other.fixed.get("labels", fixed["labels"]):
        return (
            f"The campaign `{campaign.name}` in this store has labels of settings "
            f"{other.fixed['labels'][:12]}, its `labels` section now means {fixed['labels'][:12]}: "
            "they must not mix in one data set. Give the campaign another `name`, or take the "
            "change back."
        )
    changed = [name for name, value in fixed.items() if other.fixed.get(name) != value]
    return (
        f"The campaign `{campaign.name}` in this store was started with other "
        f"{', '.join(f'`{name}`' for name in changed)}: its labels and models would not fit. "
        "Give the campaign another `name`, or take the change back. (Conditions, budget, training "
        "and convergence may change at any time.)"
    )


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


__all__ = ["campaign_key", "fixed_settings", "register_campaign"]
