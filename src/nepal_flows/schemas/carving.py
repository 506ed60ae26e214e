"""One fragment of a large cell, with the proof of what it kept of its parent."""

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from nepal_flows.schemas.base import BlobRef, Cost, Document, Part

if TYPE_CHECKING:  # documents are read where no numerics are needed
    from nepal_flows.engines.carving_frames import CarvedFragment

CarvingStatus = Literal["accepted", "rejected", "failed", "parent"]


class CarvingFidelity(Part):
    """A fragment beside its parent. Grades and forces are the model's."""

    centre_gamma: float = Field(description="Of the centre, in the fragment.")
    parent_centre_gamma: float = Field(description="... in the parent: equal by construction.")
    descriptor_distance: float = Field(
        description="Root mean square change of the centre's scaled descriptor: 0 by construction."
    )
    centre_force_change_eV_per_A: float = Field(description="On the centre: the gate.")
    shell_force_change_eV_per_A: float = Field(
        description="Root mean square norm over the first shell: the gate."
    )
    parent_force_rms_eV_per_A: float = Field(description="Of the components, in the parent.")
    boundary_gamma_mean: float
    boundary_gamma_max: float
    parent_boundary_gamma_mean: float = Field(description="The same atoms in the parent.")
    parent_boundary_gamma_max: float
    excess_share: float = Field(
        description="Share of the boundary above both 2 and its grade in the parent."
    )
    log_excess: float = Field(
        description="Mean of max(0, ln(grade / max(target, grade in the parent))): the score."
    )
    smallest_distance: float = Field(
        description="Between two atoms, over the usual distance of their elements."
    )
    parent_smallest_distance: float
    kept_density: float = Field(description="Atoms over those of the box in the parent.")
    n_core: int
    n_moved: int = Field(description="Atoms moved by more than 0.01 Å.")
    n_removed: int
    largest_displacement_A: float
    composition: dict[str, int]
    parent_composition: dict[str, int] = Field(description="Of the box in the parent.")


class CarvingDoc(Document):
    """One centre of a large cell and the fragment that was carved around it."""

    kind: ClassVar[str] = "carving"

    status: CarvingStatus = Field(
        description="accepted: it is labelled; rejected: it is not, for the reason given; failed: "
        "none could be cut; parent: the whole parent is labelled instead."
    )
    reason: str | None = Field(None, description="Why it was not accepted.")
    model_sha256: str
    active_set_key: str | None = None
    run_key: str | None = Field(None, description="Exploration run of the parent.")
    condition: str | None = None
    step: int | None = Field(None, description="Step of the parent in its run.")
    frame: int = Field(description="Index of the parent among the frames that were carved.")
    n_parent_atoms: int
    centre: int = Field(description="Index of the central atom in the parent.")
    gamma: float = Field(description="Grade of the centre when it was found.")
    gamma_when_chosen: float = Field(description="... with the fragments chosen before it.")
    method: str | None = Field(None, description="How it was made; never auto.")
    options: dict[str, Any] = Field(default_factory=dict)
    n_atoms: int = 0
    box_lengths_A: list[float] | None = Field(None, description="Of the cell vectors.")
    whole_directions: list[bool] | None = Field(
        None, description="Cell vectors along which the parent is kept as it is."
    )
    repeats_A: list[float | None] | None = Field(
        None, description="Distance after which the parent repeats; null where it does not."
    )
    added_vacuum_A: list[float] | None = None
    mismatch: float | None = Field(
        None, description="Mean squared change of coordination, and clashes, by closing the box."
    )
    rattle_A: float = Field(0.0, description="That keeps the boundary warm, standard deviation.")
    n_enlarged: int = Field(0, description="How often the box was enlarged.")
    scores: dict[str, float] = Field(
        default_factory=dict, description="log_excess of every method that was tried."
    )
    fidelity: CarvingFidelity | None = None
    structure_key: str | None = Field(None, description="Of what is labelled.")
    fragment: BlobRef | None = Field(
        None,
        description="The fragment with gamma, gamma_parent, parent_atom, is_core (frames.npz).",
    )
    cost: Cost = Field(default_factory=Cost)


class CarvingRoundDoc(Document):
    """All fragments of the large cells that the runs of one round met."""

    kind: ClassVar[str] = "carving_round"

    model_sha256: str
    active_set_key: str
    run_keys: list[str] = Field(description="Runs whose cells were carved.")
    carving_keys: list[str] = Field(description="One CarvingDoc per chosen centre.")
    n_frames: int = Field(description="Large frames above the threshold.")
    n_unknown_atoms: int
    n_centres: int
    n_accepted: int
    refused: dict[str, int] = Field(
        default_factory=dict, description="Centres that were not carved, by reason."
    )
    fragments: BlobRef | None = Field(
        None,
        description="Accepted fragments, then those of audit frames (frames.npz), with run, step, "
        "gamma, audit; per atom gamma, gamma_parent, parent_atom, is_core.",
    )
    cost: Cost = Field(default_factory=Cost)


def carving_document(carved: "CarvedFragment", *, key: str, **facts: Any) -> CarvingDoc:
    """Return the document of one carved centre.

    Parameters
    ----------
    carved
        The centre and its fragment.
    key
        Of the document.
    facts
        Further fields: the model, the campaign, the run, the blob; they take precedence.
    """
    centre, carving = carved.centre, carved.carving
    fields: dict[str, Any] = {
        "key": key,
        "status": "failed" if carving is None else "rejected" if carved.reason else "accepted",
        "reason": carved.reason,
        "frame": centre.frame,
        "n_parent_atoms": centre.n_parent_atoms,
        "centre": centre.atom,
        "gamma": centre.grade,
        "gamma_when_chosen": carved.grade_when_chosen,
        "cost": Cost(wall_s=round(carved.wall_s, 3)),
    }
    if carving is not None:
        fragment, box = carving.fragment, carving.fragment.box
        lengths = (fragment.structure.cell**2).sum(axis=1) ** 0.5
        fields |= {
            "method": carving.method,
            "n_atoms": fragment.n_atoms,
            "box_lengths_A": lengths.tolist(),
            "added_vacuum_A": fragment.vacuum.tolist(),
            "rattle_A": carving.rattle,
            "n_enlarged": carving.n_enlarged,
            "scores": carving.scores,
            "fidelity": _fidelity(carved),
        }
        if box is not None:
            fields |= {
                "whole_directions": box.whole.tolist(),
                "repeats_A": list(box.repeats),
                "mismatch": None if box.mismatch != box.mismatch else box.mismatch,
            }
    return CarvingDoc.model_validate(fields | facts)


def _fidelity(carved: "CarvedFragment") -> dict[str, Any]:
    assert carved.carving is not None
    found = carved.carving.fidelity
    renamed = {
        "centre_grade": "centre_gamma",
        "parent_centre_grade": "parent_centre_gamma",
        "centre_force_change": "centre_force_change_eV_per_A",
        "shell_force_change": "shell_force_change_eV_per_A",
        "parent_force_rms": "parent_force_rms_eV_per_A",
        "boundary_grade_mean": "boundary_gamma_mean",
        "boundary_grade_max": "boundary_gamma_max",
        "parent_boundary_grade_mean": "parent_boundary_gamma_mean",
        "parent_boundary_grade_max": "parent_boundary_gamma_max",
        "largest_displacement": "largest_displacement_A",
    }
    return {
        renamed.get(name, name): value
        for name, value in vars(found).items()
        if name not in ("grades", "parent_grades")
    }


__all__ = [
    "CarvingDoc",
    "CarvingFidelity",
    "CarvingRoundDoc",
    "CarvingStatus",
    "carving_document",
]
