"""The stored form of a label."""

import numpy as np
from ase.formula import Formula

from nepal_flows.core.elements import symbols_of
from nepal_flows.io.frames import pack_frames
from nepal_flows.labelers.label import LabelOutcome
from nepal_flows.labelers.protocol import Labeler
from nepal_flows.records import Blobs, label_key, settings_key, structure_key
from nepal_flows.schemas import Ancestry, LabelDoc, Role
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA


def label_document(
    outcome: LabelOutcome,
    *,
    labeler: Labeler,
    ancestry: Ancestry,
    blobs: Blobs,
    role: Role = "train",
    campaign_id: str | None = None,
    iteration: int | None = None,
) -> LabelDoc:
    """Return the document of a label, or of its failure; its frame is put among the blobs.

    Parameters
    ----------
    outcome
        What came of labelling a structure.
    labeler
        The labeler that was asked.
    ancestry
        Where the structure came from.
    blobs
        Where the frame is kept.
    role
        Whether the label is trained on or held out.
    campaign_id, iteration
        Who asked for it.
    """
    structure, label = outcome.structure, outcome.label
    symbols = symbols_of(structure.numbers)
    structure_name, settings_name = structure_key(structure), settings_key(labeler.physics())
    document = LabelDoc(
        key=label_key(structure_name, settings_name),
        campaign_id=campaign_id,
        iteration=iteration,
        structure_key=structure_name,
        settings_key=settings_name,
        status="quarantined" if label is None else "done",
        reason=outcome.reason,
        labeler=labeler.name,
        labeler_version=outcome.version,
        inputs={**labeler.inputs(), **({"used": outcome.info} if outcome.info else {})},
        role=role,
        ancestry=ancestry,
        formula=str(Formula.from_list(list(symbols)).reduce()[0].convert("hill")),
        elements=sorted(set(symbols)),
        n_atoms=structure.n_atoms,
        volume_A3=structure.volume,
        frame=blobs.put(pack_frames([structure if label is None else label]), "frames.npz"),
        attempts=list(outcome.attempts),
        corrections=list(outcome.corrections),
        correction_effect=("harmful" if outcome.harmful else "harmless")
        if outcome.corrections
        else None,
        cost=outcome.cost,
    )
    if label is None:
        return document
    pressure = None
    if label.virial is not None:
        pressure = float(np.trace(label.virial)) / (3.0 * structure.volume)
        pressure *= EV_PER_CUBIC_ANGSTROM_TO_GPA
    return document.model_copy(
        update={
            "energy_eV": label.energy,
            "force_max_eV_per_A": float(np.linalg.norm(label.forces, axis=1).max()),
            "net_force_eV_per_A": outcome.net_force,
            "pressure_GPa": pressure,
        }
    )


__all__ = ["label_document"]
