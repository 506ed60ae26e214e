"""One exploration run, and what was selected from all of them."""

from typing import ClassVar

from pydantic import Field

from nepal_flows.engines.outcome import Outcome
from nepal_flows.schemas.base import BlobRef, Cost, Document, Part, Role


class ExplorationDoc(Document):
    """One molecular-dynamics run of one condition and replica with one model."""

    kind: ClassVar[str] = "exploration"

    condition: str
    replica: int
    engine: str = Field(description="native, gpumd, or force_constants.")
    program: str | None = Field(None, description="Program that ran it, with its version.")
    model_sha256: str
    active_set_key: str | None = Field(None, description="None where the model is no NEP.")
    seed: int
    is_extreme: bool
    is_confirmation: bool = False
    n_atoms: int
    requested_steps: int
    finished_steps: int
    first_step: int = Field(0, description="Step at which it took up an interrupted run.")
    end_state: BlobRef | None = Field(
        None, description="Positions, cell and velocities to go on from, where it was interrupted."
    )
    outcome: Outcome
    reason: str | None = Field(None, description="Why it stopped early.")
    n_checks: int = Field(description="Frames graded.")
    n_exceeded_checks: int = Field(description="... with gamma >= gamma_low.")
    window_checks: int = Field(description="Checks per decorrelated window.")
    n_windows: int
    n_exceeded_windows: int
    score: str = Field(
        "gamma",
        description="What the grades are: gamma, R of the Bayesian error (ratio) or of a committee "
        "(spread), or the largest level of several criteria (level).",
    )
    gamma_low: float
    gamma_max: float
    gamma_quantiles: dict[str, float] = Field(
        default_factory=dict, description="Of the frame maximum: 0.5, 0.9, 0.99."
    )
    gamma_max_by_element: dict[str, float] = Field(default_factory=dict)
    expected_force_rmse_meV_per_A: float | None = Field(
        None, description="Of the visited frames, from the error bars."
    )
    largest_bar_meV_per_A: float | None = Field(None, description="Largest error bar of any atom.")
    candidates: BlobRef | None = Field(None, description="Thinned candidate frames (frames.npz).")
    n_candidates: int = 0
    audit: BlobRef | None = Field(None, description="Frames drawn at random, for the hold-out.")
    n_audit: int = 0
    trace: BlobRef | None = Field(None, description="step, T, E, P, V, gamma of every check (npz).")
    cost: Cost = Field(default_factory=Cost)


class SelectedFrame(Part):
    """One frame to be labelled."""

    structure_key: str
    role: Role
    condition: str
    run_key: str
    step: int
    gamma: float = Field(description="Grade when found.")
    gamma_when_chosen: float | None = Field(None, description="Re-graded, when the choice fell.")
    note: str | None = Field(None, description="How it was made, in words.")


class SelectionDoc(Document):
    """What was chosen for labelling, why, and what was refused."""

    kind: ClassVar[str] = "selection"

    model_sha256: str
    n_candidates: int
    budget: int
    selected: list[SelectedFrame]
    refused: dict[str, int] = Field(default_factory=dict, description="Number refused, by reason.")
    core_hours_unpaid: float = Field(
        0.0, description="Expected of frames that were chosen, but that the budget would not pay."
    )
    decisions: BlobRef | None = Field(None, description="Every decision (json).")
    frames: BlobRef | None = Field(None, description="The selected frames (frames.npz).")
    largest_remaining_grade: float | None = None
    cost: Cost = Field(default_factory=Cost)
