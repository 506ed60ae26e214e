"""The export bundle: a campaign's data and model in files that GPUMD and its tools open.

One folder: ``train.xyz`` and ``test.xyz`` (what the model has not seen) with NEP's names,
``nep.txt``, ``nep.in``, ``active_set.asi`` with its master ``.npz``, the parity tables that ``nep``
would write, and a data card. NEP's energies are relative to per-element references, so the
``energy`` of both data files is too, and ``label_energy`` holds what the labeler gave.
"""

import json
from pathlib import Path

from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import CampaignError, RecordError
from nepal_flows.io.asi import unpack_active_set, write_active_set
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_outputs import write_parity_tables
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.records import Records, chosen_labels, structure_key
from nepal_flows.report.bundle_parts import Bundle, origin_of
from nepal_flows.report.crystal_bundle import write_crystal_bundle
from nepal_flows.report.data_card import data_card
from nepal_flows.schemas import ActiveSetDoc, CampaignDoc, IterationDoc, TrainingDoc


def write_bundle(records: Records, campaign_id: str, directory: str | Path) -> Bundle:
    """Write the bundle of a campaign: its delivered model, or the newest while it runs.

    Parameters
    ----------
    records
        Where the campaign is kept.
    campaign_id
        Which one.
    directory
        Folder to write; files of an earlier export are replaced.

    Raises
    ------
    CampaignError
        If the campaign has no model yet; nothing is written.
    """
    folder = Path(directory)
    campaign = records.load(CampaignDoc, campaign_id)
    training = _delivered(records, campaign)
    if training.nep_in is None or training.history is None:
        return write_crystal_bundle(records, campaign, training, folder)
    grader = _grader(records, campaign, training)
    folder.mkdir(parents=True, exist_ok=True)
    references = training.reference_energies_eV
    text = records.blobs.get(training.model).decode()
    model = read_nep_txt(text)
    (folder / "nep.txt").write_text(text, encoding="ascii")
    (folder / "nep.in").write_bytes(records.blobs.get(training.nep_in))
    (folder / "loss.out").write_bytes(records.blobs.get(training.history))
    (folder / "reference_energies.json").write_text(json.dumps(references, indent=1) + "\n")
    write_active_set(
        unpack_active_set(records.blobs.get(grader.active_set)), folder / "active_set.asi"
    )
    chosen = chosen_labels(records, campaign_id, str(campaign.fixed["labels"]))
    labels = [(item.label, item.frame.role) for item in chosen if item.label.status == "done"]
    trained = {
        structure_key(structure)
        for structure in unpack_frames(records.blobs.get(training.dataset)).structures
    }
    counts = {}
    for name in ("train", "test"):
        own = [
            label for label, _ in labels if (label.structure_key in trained) == (name == "train")
        ]
        frames = [unpack_frames(records.blobs.get(label.frame)).labelled[0] for label in own]
        relative = [_relative(frame, references) for frame in frames]
        info = [origin_of(label, frame) for label, frame in zip(own, frames, strict=True)]
        write_extxyz(relative, folder / f"{name}.xyz", info=info)
        if relative:
            predictions = predict_many(model, [frame.structure for frame in relative])
            write_parity_tables(relative, predictions, folder, name=name)
        counts[name] = len(frames)
    iterations = sorted(
        records.query(IterationDoc, {"campaign_id": campaign_id}),
        key=lambda document: document.iteration_number,
    )
    card = data_card(campaign, training, grader, iterations, [label for label, _ in labels])
    (folder / "README.md").write_text(card, encoding="utf-8")
    (folder / "campaign.json").write_text(json.dumps(campaign.record(), indent=1) + "\n")
    return Bundle(
        directory=folder,
        files=tuple(sorted(path.name for path in folder.iterdir() if path.is_file())),
        n_train=counts["train"],
        n_test=counts["test"],
        model_sha256=training.model_sha256,
    )


def _delivered(records: Records, campaign: CampaignDoc) -> TrainingDoc:
    """Return the model that was delivered, or the newest."""
    if campaign.final_model_key is not None:
        return records.load(TrainingDoc, campaign.final_model_key)
    return records.load(TrainingDoc, _last(records, campaign).model_key)


def _grader(records: Records, campaign: CampaignDoc, training: TrainingDoc) -> ActiveSetDoc:
    """Return the active set of the model that is exported."""
    key = campaign.final_active_set_key
    if campaign.final_model_key is None or key is None:
        key = _last(records, campaign).active_set_key
    if key is None:
        raise RecordError(f"The model {training.model_sha256[:12]} has no active set on record.")
    return records.load(ActiveSetDoc, key)


def _last(records: Records, campaign: CampaignDoc) -> IterationDoc:
    criteria = {"campaign_id": campaign.key}
    last = next(records.query(IterationDoc, criteria, sort={"iteration": -1}, limit=1), None)
    if last is None:
        raise CampaignError(
            f"The campaign `{campaign.name}` has no model yet: its first iteration has not ended. "
            "Go on with `nepal run`, then export."
        )
    return last


def _relative(frame: LabelledStructure, references: dict[str, float]) -> LabelledStructure:
    return LabelledStructure(
        frame.structure,
        energy=frame.energy - reference_energy(frame.structure, references),
        forces=frame.forces,
        virial=frame.virial,
        weight=frame.weight,
    )


__all__ = ["Bundle", "write_bundle"]
