"""A label: the reference energy, forces and virial of one structure, and how they were had."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from nepal_flows.errors import FailureKind
from nepal_flows.schemas.base import BlobRef, Cost, Document, Part, Role


class Ancestry(Part):
    """Where a structure came from."""

    source: Literal["seed", "exploration", "import", "user"] = Field(description="Which stage.")
    condition: str | None = Field(None, description="Condition it was found in.")
    run_key: str | None = Field(None, description="Key of the ExplorationDoc, if from MD.")
    step: int | None = Field(None, description="MD step of the frame.")
    gamma: float | None = Field(None, description="Largest extrapolation grade of the frame.")
    model_sha256: str | None = Field(None, description="Model that graded it.")
    note: str | None = Field(None, description="How it was made, in words.")


class Correction(Part):
    """What a supervising program (custodian) changed in a code's inputs between two runs."""

    handler: str = Field(description="Which handler noticed an error.")
    errors: list[str] = Field(default_factory=list, description="The errors it noticed.")
    actions: list[dict[str, Any]] = Field(default_factory=list, description="What it did.")


class Attempt(Part):
    """One try at a label."""

    rung: str = Field(description="Rung of the retry ladder: default, mixing, ...")
    changed: dict[str, Any] = Field(default_factory=dict, description="Helpers that were changed.")
    error: str | None = Field(None, description="Why it failed; None when it succeeded.")
    failure: FailureKind | None = Field(None, description="The kind of failure, if it failed.")
    wall_s: float = Field(0.0, description="Elapsed time, s.")


class LabelDoc(Document):
    """One label, or the record of its failure."""

    kind: ClassVar[str] = "label"

    structure_key: str = Field(description="Hash of the structure.")
    settings_key: str = Field(description="Hash of the physics of the label.")
    status: Literal["done", "quarantined"] = Field(description="Whether it can be used.")
    reason: str | None = Field(None, description="Why it is quarantined.")
    labeler: str = Field(description="ase, cp2k, espresso, vasp.")
    labeler_version: str | None = Field(None, description="Version of the code that ran.")
    inputs: dict[str, Any] = Field(default_factory=dict, description="Settings as given.")
    role: Role = Field("train", description="Trained on, or held out.")
    ancestry: Ancestry = Field(description="Where the structure came from.")
    formula: str = Field(description="Reduced Hill formula.")
    elements: list[str] = Field(description="Chemical symbols present.")
    n_atoms: int = Field(description="Atoms in the cell.")
    volume_A3: float = Field(description="Volume of the cell.")
    frame: BlobRef = Field(description="The structure, labelled when status is done (frames.npz).")
    energy_eV: float | None = Field(None, description="Total (free) energy.")
    force_max_eV_per_A: float | None = Field(None, description="Largest force on an atom.")
    net_force_eV_per_A: float | None = Field(None, description="|sum F| / sqrt(n_atoms).")
    pressure_GPa: float | None = Field(None, description="trace(virial) / 3 V, virial part only.")
    attempts: list[Attempt] = Field(default_factory=list, description="Every try, in order.")
    corrections: list[Correction] = Field(
        default_factory=list,
        description="Changes of the inputs by custodian during the last try.",
    )
    correction_effect: Literal["harmless", "harmful"] | None = Field(
        None,
        description="Whether the corrections left the physics of the inputs as it was; None "
        "without any.",
    )
    cost: Cost = Field(default_factory=Cost, description="All tries together.")
