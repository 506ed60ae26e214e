"""What tells known from unknown in a campaign: which score, and its levels."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.selection import Criterion, RatioSection
from nepal_flows.core.scoring import Scale

Score: TypeAlias = Literal["gamma", "ratio", "spread", "level"]
"""The extrapolation grade, R of the Bayesian error, R of a committee, or the largest level of
several criteria."""

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
    scales
        From the scores of every criterion, by its name, to this one.
    """

    score: Score
    low: float
    stop: float | None
    ceiling: float
    threshold: float
    scales: Mapping[str, Scale]


def criterion_limits(campaign: Campaign) -> Limits:
    """Return the levels of the criterion, or of the criteria, that a campaign has chosen."""
    criteria = campaign.selection.criteria
    found = {name: _limits_of(campaign, name) for name in criteria}
    if len(criteria) == 1:
        return found[criteria[0]]
    # On one scale: 1 is everyone's limit, and the closest ceiling is everyone's ceiling.
    ceiling = min(limits.ceiling / limits.low for limits in found.values())
    scales: dict[str, Scale] = {
        name: Scale(
            low=limits.low,
            exponent=math.log(ceiling) / math.log(limits.ceiling / limits.low),
            wanted=limits.scales[name].wanted,
        )
        for name, limits in found.items()
    }
    return Limits(score="level", low=1.0, stop=None, ceiling=ceiling, threshold=1.0, scales=scales)


def _limits_of(campaign: Campaign, criterion: Criterion) -> Limits:
    exploration, selection = campaign.exploration, campaign.selection
    if criterion == "grade":
        return Limits(
            score="gamma",
            low=exploration.gamma_low,
            stop=exploration.gamma_stop,
            ceiling=exploration.candidate_ceiling,
            threshold=selection.threshold,
            scales={criterion: Scale()},
        )
    if criterion == "committee":
        return _limits_of_ratio(selection.committee, criterion, "spread")
    if exploration.dynamic is None:
        return _limits_of_ratio(selection.bayes, criterion, "ratio")
    # What interrupted a trajectory is labelled; the physics gate bars what is broken. What does not
    # interrupt cannot be held against a condition: nothing would be labelled, and the same verdict
    # come back for ever.
    bars = (selection.bayes.wanted_error_meV_per_A, exploration.dynamic.limit_meV_per_A)
    return Limits(
        score="ratio",
        low=selection.bayes.ratio_low,
        stop=None,
        ceiling=ANY_RATIO,
        threshold=1.0 / ANY_RATIO,
        scales={criterion: Scale(wanted=EV_PER_MEV * max(bars), believed=believed_ratio(campaign))},
    )


def believed_ratio(campaign: Campaign) -> float:
    """Return the R up to which small bars are believed.

    What an expansion leaves out does not show near the sites: fitted to small displacements alone
    it is exact there, and its bars stay small where it is wrong.
    """
    if campaign.model.force_constants is None:
        return float("inf")
    return campaign.selection.bayes.ratio_ceiling


def _limits_of_ratio(section: RatioSection, criterion: Criterion, score: Score) -> Limits:
    return Limits(
        score=score,
        low=section.ratio_low,
        stop=None,
        ceiling=section.ratio_ceiling,
        threshold=section.ratio_low,
        scales={criterion: Scale(wanted=EV_PER_MEV * section.wanted_error_meV_per_A)},
    )


__all__ = ["Limits", "Score", "believed_ratio", "criterion_limits"]
