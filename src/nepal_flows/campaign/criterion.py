"""What tells known from unknown in a campaign: which score, and its levels."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from nepal_flows.campaign.model import Campaign

Score: TypeAlias = Literal["gamma", "ratio"]
"""The extrapolation grade, or R of the Bayesian error."""

EV_PER_MEV = 1e-3

ANY_RATIO = 1e9
"""An R that no frame reaches."""


@dataclass(frozen=True)
class Limits:
    """Levels of the score that a campaign goes by, dimensionless.

    Attributes
    ----------
    score
        Which number.
    low
        From here on an environment is unknown.
    stop
        Where a run stops; None for the physics gate alone.
    ceiling
        Above it a frame counts as exploded.
    threshold
        Candidates are labelled while one scores more.
    wanted
        Error of a force component that is good enough, eV/Å.
    """

    score: Score
    low: float
    stop: float | None
    ceiling: float
    threshold: float
    wanted: float = 0.0


def criterion_limits(campaign: Campaign) -> Limits:
    """Return the levels of the criterion that a campaign has chosen."""
    exploration, selection = campaign.exploration, campaign.selection
    if selection.criterion == "bayes":
        bayes = selection.bayes
        if exploration.dynamic is not None:
            # What interrupted a trajectory is labelled; the physics gate bars what is broken.
            return Limits(
                score="ratio",
                low=bayes.ratio_low,
                stop=None,
                ceiling=ANY_RATIO,
                threshold=1.0 / ANY_RATIO,
                # What does not interrupt cannot be held against a condition: nothing would be
                # labelled, and the same verdict come back for ever.
                wanted=EV_PER_MEV
                * max(bayes.wanted_error_meV_per_A, exploration.dynamic.limit_meV_per_A),
            )
        return Limits(
            score="ratio",
            low=bayes.ratio_low,
            stop=None,
            ceiling=bayes.ratio_ceiling,
            threshold=bayes.ratio_low,
            wanted=EV_PER_MEV * bayes.wanted_error_meV_per_A,
        )
    return Limits(
        score="gamma",
        low=exploration.gamma_low,
        stop=exploration.gamma_stop,
        ceiling=exploration.candidate_ceiling,
        threshold=selection.threshold,
    )


__all__ = ["Limits", "Score", "criterion_limits"]
