"""A campaign: its state, one verdict per iteration, and the certificate."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from nepal_flows.core.rounds import Phase
from nepal_flows.schemas.base import BlobRef, Cost, Document, Errors, Part, Travelling
from nepal_flows.schemas.model import ElementCoverage

EndState = Literal["converged", "budget_exhausted", "stalled", "failed", "stopped"]


class CampaignState(Travelling, Part):
    """All that the loop hands to its next iteration."""

    campaign_id: str
    iteration: int = Field(0, description="The iteration to run next, from 0.")
    phase: Phase = "loop"
    n_clean_rounds: int = Field(0, description="Clean rounds running.")
    previous_model_key: str | None = None
    previous_iteration_key: str | None = None
    size_stage: int = Field(0, description="Stage of small cells, from 0.")
    stage_round: int = Field(0, description="Round of that stage, from 0.")


class ConditionVerdict(Part):
    """How one condition did in one round."""

    condition: str
    is_extreme: bool
    is_clean: bool
    reasons: list[str] = Field(default_factory=list, description="Why it is not clean.")
    n_runs: int
    n_stopped_runs: int = Field(0, description="... ended by the physics gate or a crash.")
    requested_steps: int
    finished_steps: int
    n_checks: int
    n_windows: int
    n_exceeded_windows: int
    exceedance: float = Field(description="Share of windows with a check above gamma_low.")
    exceedance_upper_95: float = Field(description="Clopper-Pearson upper bound at 95 %.")
    allowance: float
    gamma_max: float
    gamma_median: float
    expected_force_rmse_meV_per_A: float | None = Field(
        None, description="Of the visited frames, from error bars."
    )
    new_label_errors: Errors | None = None
    training_errors: Errors | None = None


class CalibrationBin(Part):
    """True force errors of the atoms whose grade lies in one bin."""

    gamma_from: float
    gamma_to: float | None
    n_atoms: int
    force_rmse_meV_per_A: float
    force_p99_meV_per_A: float
    force_max_meV_per_A: float


class Calibration(Part):
    """Grade against true error, on frames the model had not seen."""

    bins: list[CalibrationBin]
    n_atoms: int
    share_called_safe: float | None = None
    largest_error_called_safe_meV_per_A: float | None = None
    spearman: float | None = None


class SlopePart(Part):
    """Slope of predicted against reference forces of some atoms the model had not seen."""

    name: str = Field("", description="The condition; empty for a part by magnitude, or for all.")
    n_atoms: int
    mean_force_meV_per_A: float = Field(description="Mean reference force.")
    slope: float = Field(description="1 where forces are neither too small nor too large.")
    standard_error: float
    is_biased: bool = Field(description="Off by more than 3 %, and by twice the standard error.")


class ForceBiasPart(Part):
    """Whether forces come out too small, as they may from many atoms without any."""

    small_force_share: float = Field(
        description="Share of training atoms with a reference force below 0.01 eV/Å."
    )
    small_force_share_by_condition: dict[str, float] = Field(default_factory=dict)
    whole: SlopePart | None = Field(None, description="Of the hold-out, else of new labels.")
    by_magnitude: list[SlopePart] = Field(default_factory=list)
    by_condition: list[SlopePart] = Field(default_factory=list)
    tested_on: Literal["hold-out", "new labels"] | None = None

    @property
    def biased(self) -> list[SlopePart]:
        """The conditions whose forces are biased."""
        return [part for part in self.by_condition if part.is_biased]


class LabelSums(Part):
    """How many labels there are, and how their cost would grow with the size of cells."""

    n_labels: int = Field(description="Calls of the labeler, failed labels too.")
    n_atoms: int = Field(description="Sum of N over them.")
    n_atoms_squared: int = Field(description="Sum of N^2.")
    n_atoms_cubed: int = Field(description="Sum of N^3.")


class ErrorBars(Part):
    """What the error bars of a model were worth on frames it had not seen."""

    n_atoms: int
    factor: float = Field(description="Root mean square of error over bar; 1 is right.")
    within_one: float = Field(description="Share of force components within one bar.")
    within_two: float
    expected_force_rmse_meV_per_A: float = Field(description="Of those frames, from the bars.")
    force_rmse_meV_per_A: float = Field(description="... and what it was.")
    is_sound: bool = Field(description="Whether the factor lies between 0.5 and 2.")


class Certificate(Part):
    """What was shown about the delivered model, condition by condition, and what was not."""

    model_sha256: str
    score: str = Field(
        "gamma",
        description="What the grades are: gamma, ratio or spread (R of the Bayesian error or of a "
        "committee), or level (the largest of several criteria).",
    )
    gamma_low: float
    conditions: list[ConditionVerdict]
    coverage: list[ElementCoverage]
    calibration: Calibration | None = None
    error_bars: ErrorBars | None = None
    training_errors: Errors
    holdout_errors: Errors | None = None
    largest_error_called_safe_meV_per_A: float | None = None
    not_covered: list[str]


class IterationDoc(Document):
    """One iteration: its model, what exploration found, what was labelled, the verdict."""

    kind: ClassVar[str] = "iteration"

    phase: Phase
    model_key: str
    model_sha256: str
    active_set_key: str | None = Field(None, description="None where the model is no NEP.")
    exploration_keys: list[str]
    selection_key: str
    label_keys: list[str] = Field(description="Labels made in this iteration.")
    n_labels_total: int = Field(description="All labels of the campaign so far, failures too.")
    n_labels_training: int
    n_labels_holdout: int
    n_labels_failed: int
    n_atoms_labelled: int
    conditions: list[ConditionVerdict]
    coverage: list[ElementCoverage]
    training_errors: Errors
    new_label_errors: Errors | None = None
    holdout_errors: Errors | None = None
    calibration: Calibration | None = None
    error_bars: ErrorBars | None = Field(None, description="Where a criterion has them.")
    checks: dict[str, bool] = Field(description="Every criterion of convergence, by name.")
    reasons: list[str] = Field(description="What is still missing, in sentences.")
    is_clean: bool
    n_clean_rounds: int
    is_ready_for_confirmation: bool = False
    is_stalled: bool = False
    certificate: Certificate | None = Field(None, description="Of a clean confirmation.")
    demands_key: str | None = Field(
        None, description="Hash of what was demanded: training, conditions, limits."
    )
    costs: dict[str, Cost] = Field(default_factory=dict, description="By stage.")
    core_hours_total: float = Field(0.0, description="Of the campaign so far.")
    gpu_hours_total: float = Field(0.0, description="Of the campaign so far.")
    core_hours_unpaid: float = Field(
        0.0, description="Expected of labels that were wanted, but that the budget would not pay."
    )
    size_stage: int = Field(0, description="Stage of small cells, from 0.")
    stage_round: int = Field(0, description="Round of that stage, from 0.")
    label_sums: dict[str, LabelSums] = Field(
        default_factory=dict,
        description="All labels so far: `seeds`, and by stage of small cells, from `0`.",
    )
    label_costs: dict[str, Cost] = Field(default_factory=dict, description="What these took.")
    force_bias: ForceBiasPart | None = None
    rank_gain: float | None = Field(
        None,
        description="Growth of all ranks since the iteration before, over the environments that "
        "its labels added.",
    )

    @property
    def iteration_number(self) -> int:
        """The iteration, which an IterationDoc always has."""
        return self.iteration or 0

    @property
    def failed_fraction(self) -> float:
        """Share of all labels that failed."""
        return self.n_labels_failed / max(1, self.n_labels_total)


class ValidationDoc(Document):
    """Errors of a model on trajectories of the teacher that no training has seen."""

    kind: ClassVar[str] = "validation"

    model_sha256: str
    seed: int
    errors: Errors
    errors_by_condition: dict[str, Errors]
    limits_meV_per_A: dict[str, float] = Field(
        default_factory=dict, description="Force errors that count as reached, and of `all`."
    )
    parity: BlobRef | None = Field(None, description="The teacher's frames (frames.npz).")
    cost: Cost = Field(default_factory=Cost)


class ReplicaDoc(Document):
    """How far the labels of a cell and of its supercell disagree."""

    kind: ClassVar[str] = "replica"

    labeler: str
    n_atoms: int
    n_atoms_supercell: int
    repeats: list[int]
    energy_difference_meV_per_atom: float
    force_difference_meV_per_A: float = Field(description="Largest, of a component.")
    cost: Cost = Field(default_factory=Cost)


class CampaignDoc(Document):
    """A campaign as it was asked for, and where it stands."""

    kind: ClassVar[str] = "campaign"

    name: str
    settings: dict[str, Any] = Field(description="The campaign file, complete with defaults.")
    identity: str = Field(description="Hash of what may not change while it runs.")
    fixed: dict[str, Any] = Field(default_factory=dict, description="What that is, by section.")
    structures: BlobRef = Field(description="Starting structures (frames.npz).")
    structure_names: list[str]
    foundation: list[BlobRef] = Field(
        default_factory=list, description="nep.txt and nep.restart that are fine-tuned, if any."
    )
    end_state: EndState | None = None
    end_reasons: list[str] = Field(default_factory=list)
    final_model_key: str | None = Field(None, description="The delivered model.")
    final_active_set_key: str | None = None
    validation_key: str | None = None
    n_iterations: int = 0
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)


class ApprovalDoc(Document):
    """A person's word that a selection may be labelled; its key is the selection's."""

    kind: ClassVar[str] = "approval"
