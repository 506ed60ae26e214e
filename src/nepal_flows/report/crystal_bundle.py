"""The export bundle of a campaign whose model is force constants.

One folder: ``force_constants.fcp`` (hiPhive's potential), ``FORCE_CONSTANTS`` (phonopy's, of the
second order, in ``supercell.vasp``), ``train.xyz`` and ``test.xyz`` with the labeler's energies,
and a data card. ``nepal force-constants supercell.vasp train.xyz`` goes on from there.
"""

import json
from pathlib import Path

from nepal_flows.campaign import Campaign
from nepal_flows.engines.force_constants.files import write_force_constants
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.force_constants.fit import stored_fit
from nepal_flows.records import Records, chosen_labels, structure_key
from nepal_flows.report.bundle_parts import Bundle, origin_of
from nepal_flows.schemas import CampaignDoc, IterationDoc, TrainingDoc


def write_crystal_bundle(
    records: Records, campaign: CampaignDoc, training: TrainingDoc, folder: Path
) -> Bundle:
    """Write the bundle of a campaign's force constants.

    Parameters
    ----------
    records, campaign
        Where, and of which campaign.
    training
        The delivered force constants.
    folder
        Folder to write; files of an earlier export are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = Campaign.model_validate(campaign.settings)
    fit = stored_fit(records, training, settings, campaign.key)
    frames = unpack_frames(records.blobs.get(training.dataset))
    write_force_constants(fit.at(frames.structures[-1]), folder)
    chosen = chosen_labels(records, campaign.key, str(campaign.fixed["labels"]))
    labels = [item.label for item in chosen if item.label.status == "done"]
    trained = {structure_key(structure) for structure in frames.structures}
    counts = {}
    for name in ("train", "test"):
        own = [x for x in labels if (x.structure_key in trained) == (name == "train")]
        labelled = [unpack_frames(records.blobs.get(label.frame)).labelled[0] for label in own]
        info = [origin_of(label, frame) for label, frame in zip(own, labelled, strict=True)]
        write_extxyz(labelled, folder / f"{name}.xyz", info=info)
        counts[name] = len(own)
    (folder / "README.md").write_text(_card(records, campaign, training), encoding="utf-8")
    (folder / "campaign.json").write_text(json.dumps(campaign.record(), indent=1) + "\n")
    return Bundle(
        directory=folder,
        files=tuple(sorted(path.name for path in folder.iterdir() if path.is_file())),
        n_train=counts["train"],
        n_test=counts["test"],
        model_sha256=training.model_sha256,
    )


def _card(records: Records, campaign: CampaignDoc, training: TrainingDoc) -> str:
    """Return the data card, in Markdown."""
    criteria = {"campaign_id": campaign.key}
    last = next(records.query(IterationDoc, criteria, sort={"iteration": -1}, limit=1), None)
    certificate = None if last is None else last.certificate
    is_certified = certificate is not None and certificate.model_sha256 == training.model_sha256
    errors = training.training_errors
    cutoffs = ", ".join(
        f"order {order} to {cutoff:g} Å"
        for order, cutoff in enumerate(training.settings["cutoffs_A"], start=2)
    )
    lines = [
        f"# {campaign.name}",
        "",
        f"Force constants of a crystal of {', '.join(training.elements)}: {cutoffs}.",
        "",
        "| | |",
        "|---|---|",
        f"| end state | {campaign.end_state or 'not finished'} |",
        f"| certificate | {'for exactly this model' if is_certified else 'none'} |",
        f"| frames trained on | {training.n_structures} of {training.n_atoms} atoms in all |",
        f"| training error of forces (RMSE) | {errors.force_rmse_meV_per_A:.1f} meV/Å |",
        "",
        "## Why it ended",
        "",
    ]
    lines += [f"- {reason}" for reason in campaign.end_reasons] or ["- It has not ended."]
    lines += ["", "## Parameters that the labels determine", ""]
    lines += [f"- {part.element}: {part.rank} of {part.n_projection}" for part in training.coverage]
    lines += [
        "",
        "## Files",
        "",
        "- `force_constants.fcp`: `ForceConstantPotential.read` of hiPhive; all orders, any "
        "supercell.",
        "- `FORCE_CONSTANTS`: the second order in `supercell.vasp`, for phonopy.",
        "- `train.xyz`, `test.xyz`: frames trained on, and held out; energies are the labeler's.",
        "- `campaign.json`: the campaign, complete with defaults, versions and seeds.",
        "",
        "Frequencies with temperature, and the anharmonicity: `nepal force-constants "
        "supercell.vasp train.xyz --cutoff .. --temperature .. --out fc`.",
        "",
    ]
    return "\n".join(lines)


__all__ = ["write_crystal_bundle"]
