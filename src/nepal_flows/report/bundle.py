"""The export bundle: a campaign's data and model in files that GPUMD and its tools open.

One folder: ``train.xyz`` and ``test.xyz`` (what the model has not seen) with NEP's names,
``nep.txt``, ``nep.in``, ``active_set.asi`` with its master ``.npz``, the parity tables that ``nep``
would write, and a data card. NEP's energies are relative to per-element references, so the
``energy`` of both data files is too, and ``label_energy`` holds what the labeler gave.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import CampaignError
from nepal_flows.io.asi import unpack_active_set, write_active_set
from nepal_flows.io.extxyz import InfoValue, write_extxyz
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_outputs import write_parity_tables
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.records import Records, chosen_labels, structure_key
from nepal_flows.report.data_card import data_card
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    IterationDoc,
    LabelDoc,
    TrainingDoc,
)


@dataclass(frozen=True)
class Bundle:
    """What was exported.

    Attributes
    ----------
    directory
        The folder.
    files
        Names of the files in it.
    n_train, n_test
        Frames trained on and held out.
    model_sha256
        Hash of nep.txt.
    """

    directory: Path
    files: tuple[str, ...]
    n_train: int
    n_test: int
    model_sha256: str


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
    training, grader = _delivered(records, campaign)
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
        info = [_info(label, frame) for label, frame in zip(own, frames, strict=True)]
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


def _delivered(records: Records, campaign: CampaignDoc) -> tuple[TrainingDoc, ActiveSetDoc]:
    if campaign.final_model_key is not None and campaign.final_active_set_key is not None:
        return (
            records.load(TrainingDoc, campaign.final_model_key),
            records.load(ActiveSetDoc, campaign.final_active_set_key),
        )
    criteria = {"campaign_id": campaign.key}
    last = next(records.query(IterationDoc, criteria, sort={"iteration": -1}, limit=1), None)
    if last is None:
        raise CampaignError(
            f"The campaign `{campaign.name}` has no model yet: its first iteration has not ended. "
            "Go on with `nepal run`, then export."
        )
    return records.load(TrainingDoc, last.model_key), records.load(
        ActiveSetDoc, last.active_set_key
    )


def _relative(frame: LabelledStructure, references: dict[str, float]) -> LabelledStructure:
    return LabelledStructure(
        frame.structure,
        energy=frame.energy - reference_energy(frame.structure, references),
        forces=frame.forces,
        virial=frame.virial,
        weight=frame.weight,
    )


def _info(label: LabelDoc, frame: LabelledStructure) -> dict[str, InfoValue]:
    origin: dict[str, Any] = {
        "label_key": label.key,
        "label_energy": frame.energy,
        "source": label.ancestry.source,
        "condition": label.ancestry.condition,
        "iteration": label.iteration,
        "step": label.ancestry.step,
        "gamma": label.ancestry.gamma,
    }
    return {name: value for name, value in origin.items() if value is not None}


__all__ = ["Bundle", "write_bundle"]
