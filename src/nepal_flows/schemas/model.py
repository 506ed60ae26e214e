"""A trained model, and the active set that belongs to it."""

from typing import Any, ClassVar

from pydantic import Field

from nepal_flows.schemas.base import BlobRef, Cost, Document, Errors, Part


class ElementCoverage(Part):
    """How well one element's environments are spanned."""

    element: str = Field(description="Chemical symbol, or the order of force constants.")
    n_rows: int = Field(description="Training environments of the element.")
    n_distinct_rows: int = Field(description="... that differ (symmetric cells repeat rows).")
    n_projection: int = Field(description="Length d of b.")
    rank: int = Field(description="Numerical rank at rcond.")
    rank_before_last_batch: int | None = Field(None, description="Rank without the newest frames.")
    is_saturated: bool = Field(description="The last batch raised the rank by at most 2 %.")
    log_determinant: float | None = Field(None, description="ln |det| of the whitened active rows.")
    largest_training_grade: float = Field(description="Largest grade of any training row.")
    out_of_span_scale: float | None = Field(None, description="eps_t of the padding columns.")


class TrainingDoc(Document):
    """A trained model; its key is the model key (data set, settings, seed, trainer)."""

    kind: ClassVar[str] = "model"

    model_sha256: str = Field(description="SHA-256 of nep.txt: what active sets are bound to.")
    model: BlobRef = Field(description="nep.txt, or force constants (force_constants.npz).")
    nep_in: BlobRef | None = Field(None, description="nep.in that describes it; None of no NEP.")
    history: BlobRef | None = Field(None, description="loss.out; None where nothing was iterated.")
    dataset: BlobRef = Field(description="The training frames (frames.npz).")
    dataset_key: str = Field(description="Hash of ordered label keys and weights.")
    n_structures: int
    n_new_structures: int = Field(0, description="... that the previous model did not know.")
    n_atoms: int
    elements: list[str]
    trainer: str = Field(description="native, nep, or force_constants.")
    program: str | None = Field(None, description="Program that trained, with its version.")
    restart: BlobRef | None = Field(None, description="nep.restart, where `nep` trained.")
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int
    stage: str = Field("loop", description="loop (short fits) or final (the long fit).")
    parent_model_sha256: str | None = Field(None, description="Model it was warm-started from.")
    reference_energies_eV: dict[str, float] = Field(
        default_factory=dict,
        description="Per-element energies subtracted before training: nep.txt predicts E - sum.",
    )
    training_errors: Errors
    training_errors_by_condition: dict[str, Errors] = Field(default_factory=dict)
    new_label_errors: dict[str, Errors] = Field(
        default_factory=dict,
        description="Errors of the previous model on the labels new to this set, by condition.",
    )
    holdout_errors: Errors | None = None
    best_step: int | None = Field(None, description="Step whose parameters the model has.")
    coverage: list[ElementCoverage] = Field(
        default_factory=list,
        description="Of force constants: how many parameters of every order the labels determine.",
    )
    cost: Cost = Field(default_factory=Cost)


class PosteriorDoc(Document):
    """The posterior of one model's networks; its key is that of the active set, and the layer."""

    kind: ClassVar[str] = "posterior"

    model_key: str
    model_sha256: str
    active_set_key: str = Field(description="Active set of the same model.")
    layer: str = Field(description="all, or last (w1 and b1).")
    posterior: BlobRef = Field(description="Root of the covariance (posterior.bin).")
    n_parameters: int
    n_determined: float = Field(description="Parameters that the data determine.")
    n_iterations: int = Field(description="Of the evidence.")
    energy_noise_meV_per_atom: float | None = None
    force_noise_meV_per_A: float | None = None
    energy_scale: float | None = Field(None, description="Bar over epistemic deviation, energies.")
    force_scale: float = Field(description="... of forces.")
    virial_scale: float | None = Field(None, description="... of virials.")
    cost: Cost = Field(default_factory=Cost)


class MemberDoc(Document):
    """A further member of a model's committee; its key is the model's, its number, how it is drawn.

    The first member is the model itself.
    """

    kind: ClassVar[str] = "member"

    model_key: str = Field(description="The model that the committee speaks for.")
    number: int = Field(description="Of the member; the model itself is 0.")
    model_sha256: str = Field(description="SHA-256 of the member's nep.txt.")
    model: BlobRef = Field(description="The member's nep.txt.")
    history: BlobRef = Field(description="The member's loss.out.")
    seed: int
    bootstrap: bool = Field(description="Whether its frames were drawn with replacement.")
    n_structures: int = Field(description="Frames it was trained on, repetitions counted.")
    n_distinct_structures: int = Field(description="... and not counted.")
    stage: str = Field(description="loop (short fits) or final (the long fit).")
    parent_model_sha256: str | None = Field(None, description="Member it was warm-started from.")
    settings: dict[str, Any] = Field(default_factory=dict)
    training_errors: Errors = Field(description="On all training frames, drawn or not.")
    best_step: int | None = Field(None, description="Step whose parameters the member has.")
    cost: Cost = Field(default_factory=Cost)


class CommitteeDoc(Document):
    """The committee of one model; its key is that of the active set, and how members are drawn."""

    kind: ClassVar[str] = "committee"

    model_key: str
    model_sha256: str
    active_set_key: str = Field(description="Active set of the same model.")
    member_keys: list[str] = Field(description="MemberDocs of the members 1, 2 ...")
    committee: BlobRef = Field(description="All members and the scale (committee.json).")
    n_models: int = Field(description="Members, the model itself included.")
    bootstrap: bool
    training_deviation_meV_per_A: float = Field(
        description="Root mean square, over training atoms, of the standard deviation of a force."
    )
    force_scale: float = Field(description="Bar of a force component over standard deviation.")
    cost: Cost = Field(default_factory=Cost, description="Of the members and of their comparison.")


class CheckpointDoc(Document):
    """Where a training with `nep` stood when it was last looked at; its key is the model's."""

    kind: ClassVar[str] = "checkpoint"

    model: BlobRef = Field(description="nep.txt.")
    restart: BlobRef = Field(description="nep.restart.")
    history: BlobRef = Field(description="loss.out.")
    n_generations: int = Field(description="Generations done.")


class ActiveSetDoc(Document):
    """The active set of one model; its key is the model's hash and the variant."""

    kind: ClassVar[str] = "active_set"

    model_key: str | None = Field(
        None, description="Key of the TrainingDoc; None where the document is older than the field."
    )
    model_sha256: str
    variant: str
    rcond: float
    active_set: BlobRef = Field(description="Compressed master (active_set.npz).")
    coverage: list[ElementCoverage]
    cost: Cost = Field(default_factory=Cost)
