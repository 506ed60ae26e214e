"""What is labelled, and when a campaign is over."""

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field, model_validator

from nepal_flows.campaign.section import (
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
)

Criterion: TypeAlias = Literal["grade", "bayes", "committee"]
"""What may tell known from unknown."""


class ActiveSetSection(Section):
    """How the active set is made, on which all grades rest."""

    variant: Literal["subspace", "full"] = Field(
        "subspace", description="`subspace` grades in the span of the data; `full` is as published."
    )
    rcond: Positive = Field(1e-6, lt=1e-2, description="Relative cut of singular values.")


class RatioSection(Section):
    """Limits of a criterion that goes by R."""

    ratio_low: Positive = Field(
        2.0, gt=1.0, description="R above which an environment is unknown, and may be labelled."
    )
    ratio_ceiling: Positive = Field(
        30.0,
        description="Frames with an R above this are rejected as exploded. Of force constants: R "
        "up to which small bars are believed; beyond it a trajectory is interrupted.",
    )
    wanted_error_meV_per_A: NonNegative = Field(
        0.0,
        description="Environments with an error bar up to this count as known whatever their R: "
        "the accuracy that is wanted.",
    )

    @model_validator(mode="after")
    def _levels_apart(self) -> "RatioSection":
        if self.ratio_ceiling <= self.ratio_low:
            raise ValueError("`ratio_ceiling` must lie above `ratio_low`")
        return self


class BayesSection(RatioSection):
    """The Bayesian error as criterion: read where `criterion` names `bayes`."""

    layer: Literal["all", "last"] = Field(
        "all", description="Parameters with an error: all of the networks, or w1 and b1 alone."
    )


class CommitteeSection(RatioSection):
    """A committee as criterion: read where `criterion` names `committee`."""

    n_models: int = Field(
        4, ge=2, le=32, description="Members; the first is the model that is delivered."
    )
    bootstrap: bool = Field(
        False,
        description="Train the other members on frames drawn with replacement, besides from seeds "
        "of their own. Seeds alone were measured to be better (see the page on committees).",
    )


def _criteria_in_order(value: Any) -> Any:
    """Return several criteria in a fixed order, one as itself; what is wrong as it was given."""
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) != len({str(name) for name in value}):
        raise ValueError("names a criterion twice; name each once")
    known = [name for name in get_args(Criterion) if name in value]
    if len(known) < len(value):
        return tuple(value)
    return known[0] if len(known) == 1 else tuple(known)


class SelectionSection(Section):
    """Which candidates are labelled."""

    younger: ClassVar[frozenset[str]] = frozenset(
        {"bayes", "committee", "criterion", "max_forceless_share"}
    )

    criterion: Annotated[Criterion | tuple[Criterion, ...], BeforeValidator(_criteria_in_order)] = (
        Field(
            "grade",
            description="What tells known from unknown in runs, selection and certificate: the "
            "extrapolation `grade`, R of the Bayesian error (`bayes`), R of a `committee`, or "
            "several, as `[grade, bayes]`: an atom is then unknown when any of them says so.",
        )
    )
    bayes: BayesSection = Field(
        default_factory=BayesSection, description="Limits of the Bayesian error."
    )
    committee: CommitteeSection = Field(
        default_factory=CommitteeSection, description="Size and limits of the committee."
    )
    labels_per_iteration: int = Field(
        10, gt=0, le=100_000, description="Most labels of one iteration."
    )
    audit_per_iteration: int = Field(
        2,
        ge=0,
        le=100_000,
        description="Further frames drawn at random, labelled and never trained on (hold-out), up "
        "to a quarter of the training set; a confirmation always draws them.",
    )
    threshold: Positive = Field(
        5.0, gt=1.0, description="Selection stops when no candidate is graded above this."
    )
    duplicate_tolerance: NonNegative = Field(
        0.001,
        description="Frames that differ by less from a labelled one, in scaled descriptors, are "
        "refused as near-duplicates.",
    )
    max_forceless_share: Share = Field(
        1.0,
        description="Largest share of atoms of a frame whose site has no force by symmetry "
        "(spglib, 0.02 Å); 1 takes all frames. It keeps ideal frames of small cells out.",
    )

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """The criteria, one or several."""
        criterion = self.criterion
        return (criterion,) if isinstance(criterion, str) else criterion

    @model_validator(mode="after")
    def _has_a_criterion(self) -> "SelectionSection":
        if not self.criteria:
            raise ValueError("`criterion` is an empty list; name one criterion or more")
        return self


class BudgetSection(Section):
    """When to stop without convergence; raise it and run again to go on."""

    labels: int = Field(
        80, gt=0, le=1_000_000, description="Most labels, failed and held-out ones too."
    )
    iterations: int = Field(20, gt=0, le=10_000, description="Most iterations.")
    core_hours: Positive | None = Field(
        None,
        description="Most core-hours; null for no limit. A batch of labels that is expected to go "
        "beyond is cut.",
    )
    gpu_hours: Positive | None = Field(
        None,
        description="Most GPU-hours; null for no limit. No round begins that is expected to go "
        "beyond.",
    )


class ConvergenceSection(Section):
    """What must hold before the campaign counts as converged."""

    clean_rounds: PositiveInt = Field(2, description="Clean rounds of all conditions, in a row.")
    exceedance: Share = Field(
        0.005, description="Share of windows above gamma_low allowed to a condition."
    )
    exceedance_extreme: Share = Field(0.02, description="... to a condition marked `extreme`.")
    new_label_error_ratio: Positive = Field(
        1.3, ge=1.0, description="Error on new labels before training, over the training error."
    )
    holdout_change: Positive = Field(0.10, description="Largest relative change of its error.")
    negligible_error_meV_per_A: NonNegative = Field(
        0.0,
        description="Force errors on new labels and on the hold-out up to this pass whatever their "
        "ratios: the accuracy that is wanted. 0 compares always.",
    )
    rank_growth: Positive = Field(
        0.02, description="Largest relative growth of an element's rank in a round."
    )
    stall_rounds: PositiveInt = Field(
        4, description="Rounds without any progress after which the campaign is `stalled`."
    )


__all__ = [
    "ActiveSetSection",
    "BayesSection",
    "BudgetSection",
    "CommitteeSection",
    "ConvergenceSection",
    "Criterion",
    "RatioSection",
    "SelectionSection",
]
