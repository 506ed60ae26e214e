"""What a round of a campaign showed, by what it is judged, and the judgement: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Phase = Literal["seed", "loop", "confirmation"]
NextStep = Literal["continue", "confirm", "converged", "stalled"]


@dataclass(frozen=True)
class ConvergenceRules:
    """The limits that the verdicts use.

    Attributes
    ----------
    allowance, extreme_allowance
        Largest exceedance of ordinary conditions, and of those marked extreme. With fewer windows
        than 1/allowance the rule means: none.
    fewest_windows
        Windows a condition needs; below, a clean result says nothing.
    n_clean_rounds
        Rounds running in which every condition must be clean.
    largest_error_ratio
        Error on new labels over the training error of the same condition.
    negligible_error
        Errors on new labels and on the hold-out up to this pass whatever their ratio, eV/Å.
    largest_holdout_change
        Relative change of the hold-out error between two rounds.
    largest_expected_ratio
        Force error that error bars expect of a condition, over the training error: where it is
        set, no hold-out is asked for.
    confidence
        Of the upper bound on the exceedance.
    n_stalled_rounds
        Rounds without progress after which the campaign has stalled.
    smallest_error_gain, smallest_exceedance_gain
        Relative falls of the hold-out error and of the mean exceedance that count as progress.
    """

    allowance: float = 0.005
    extreme_allowance: float = 0.02
    fewest_windows: int = 10
    n_clean_rounds: int = 2
    largest_error_ratio: float = 1.3
    negligible_error: float = 0.0
    largest_holdout_change: float = 0.10
    largest_expected_ratio: float | None = None
    confidence: float = 0.95
    n_stalled_rounds: int = 4
    smallest_error_gain: float = 0.05
    smallest_exceedance_gain: float = 0.2


@dataclass(frozen=True)
class ConditionRecord:
    """What one condition did in one round, over all its runs.

    Attributes
    ----------
    name
        The condition.
    is_extreme
        Whether the campaign marks it extreme.
    requested_steps, finished_steps
        Steps asked for and run, over all runs.
    n_gate_violations
        Runs that the physics gate stopped, or that crashed.
    n_windows, n_exceeded_windows
        Decorrelated windows, and those with a check above gamma_low.
    new_label_error, training_error
        Force RMSE on its newly labelled frames before training on them, and on its training
        frames, eV/Å; None where there are no such frames.
    expected_error
        Force RMSE of the frames it visited that error bars expect, eV/Å; None without bars.
    """

    name: str
    is_extreme: bool
    requested_steps: int
    finished_steps: int
    n_gate_violations: int
    n_windows: int
    n_exceeded_windows: int
    new_label_error: float | None = None
    training_error: float | None = None
    expected_error: float | None = None

    @property
    def exceedance(self) -> float:
        """Share of windows with a check above the limit; 1 without any window."""
        return self.n_exceeded_windows / self.n_windows if self.n_windows else 1.0


@dataclass(frozen=True)
class ConditionJudgement:
    """Whether a condition was clean.

    Attributes
    ----------
    name
        The condition.
    is_clean
        Whether it was.
    reasons
        Why not, in sentences.
    exceedance, exceedance_upper
        Share of windows above the limit, and its upper bound.
    allowance
        What was allowed.
    """

    name: str
    is_clean: bool
    reasons: tuple[str, ...]
    exceedance: float
    exceedance_upper: float
    allowance: float


@dataclass(frozen=True)
class RoundRecord:
    """One round of the campaign.

    Attributes
    ----------
    phase
        ``confirmation`` for the larger cell with unused seeds.
    conditions
        All conditions of the round.
    is_saturated
        Whether the rank of each element is, by symbol.
    ranks
        Rank by symbol.
    holdout_error
        Force RMSE on the hold-out, eV/Å; None without one.
    training_error
        Force RMSE on the training set, eV/Å, for conditions that have no training frames.
    n_new_labels
        Labels made in the round.
    """

    phase: Phase
    conditions: tuple[ConditionRecord, ...]
    is_saturated: Mapping[str, bool]
    ranks: Mapping[str, int] = field(default_factory=dict)
    holdout_error: float | None = None
    training_error: float | None = None
    n_new_labels: int = 0


@dataclass(frozen=True)
class CampaignJudgement:
    """Where the campaign stands after its last round.

    Attributes
    ----------
    next_step
        ``continue``, ``confirm`` (all but the confirmation holds), ``converged``, ``stalled``.
    checks
        Every criterion by name.
    reasons
        What is missing, in sentences.
    conditions
        Judgement of every condition in the last round.
    is_clean
        Whether all conditions were clean in the last round.
    n_clean_rounds
        Clean rounds running.
    """

    next_step: NextStep
    checks: dict[str, bool]
    reasons: tuple[str, ...]
    conditions: tuple[ConditionJudgement, ...]
    is_clean: bool
    n_clean_rounds: int


__all__ = [
    "CampaignJudgement",
    "ConditionJudgement",
    "ConditionRecord",
    "ConvergenceRules",
    "NextStep",
    "Phase",
    "RoundRecord",
]
