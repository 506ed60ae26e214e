"""What is left of a campaign: rounds, labels and cost, learnt from the rounds it has behind it.

How many rounds a campaign will take nobody knows. Two numbers bound it: those that are left if all
is clean from now on, and those that the budget allows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.campaign.forecast import training_seconds
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.past_rounds import PastRound, Spent

N_LEARNT = 3
"""Newest rounds that the cost of the next is learnt from."""


@dataclass(frozen=True)
class Standing:
    """Where a campaign stands.

    Attributes
    ----------
    n_labels, n_rounds
        Labels and iterations so far.
    n_clean_rounds
        Clean ones in a row.
    is_ready
        Whether the next round is the confirmation.
    used
        What it has cost.
    """

    n_labels: int
    n_rounds: int
    n_clean_rounds: int
    is_ready: bool
    used: Spent


@dataclass(frozen=True)
class Outlook:
    """What is left, at least (all is clean from now on) and at most (the budget is used up).

    Attributes
    ----------
    n_rounds, n_labels
        Iterations, the confirmation included, and labels.
    cpu_s, gpu_s
        Their cost, s.
    n_learnt
        Rounds that the cost was learnt from.
    """

    n_rounds: tuple[int, int]
    n_labels: tuple[int, int]
    cpu_s: tuple[float, float]
    gpu_s: tuple[float, float]
    n_learnt: int


def campaign_outlook(
    campaign: Campaign, standing: Standing, past: Sequence[PastRound]
) -> Outlook | None:
    """Return what is left of a campaign that goes on; None before its first round ended.

    Parameters
    ----------
    campaign
        What is asked for now.
    standing
        Where it stands.
    past
        Its rounds, oldest first; the last ones are learnt from.
    """
    learnt = past[-N_LEARNT:]
    if not learnt:
        return None
    budget, selection = campaign.budget, campaign.selection
    labels_left = max(0, budget.labels - standing.n_labels)
    rounds_left = max(0, budget.iterations - standing.n_rounds)
    clean = 0
    if not standing.is_ready:
        clean = max(1, campaign.convergence.clean_rounds - standing.n_clean_rounds)
    fewest = min(clean + 1, rounds_left)
    audits = min(selection.audit_per_iteration, labels_left)
    least = _cost(campaign, learnt, n_rounds=fewest, n_labels=audits)
    per_round = selection.labels_per_iteration + selection.audit_per_iteration
    most_rounds = min(rounds_left, max(fewest, math.ceil(labels_left / per_round) + clean + 1))
    most_labels = min(labels_left, most_rounds * per_round)
    most = _cost(campaign, learnt, n_rounds=most_rounds, n_labels=most_labels)
    most = _within_budget(campaign, standing.used, most)
    return Outlook(
        n_rounds=(fewest, most_rounds),
        n_labels=(audits if fewest else 0, most_labels),
        cpu_s=(min(least.cpu_s, most.cpu_s), most.cpu_s),
        gpu_s=(min(least.gpu_s, most.gpu_s), most.gpu_s),
        n_learnt=len(learnt),
    )


def _cost(
    campaign: Campaign, learnt: Sequence[PastRound], *, n_rounds: int, n_labels: int
) -> Spent:
    """Return what rounds are expected to take: the last is the confirmation, and its fit is long.

    The long fit is made without any round too: it is what a spent budget ends with.
    """
    share = 1.0 / len(learnt)
    loops, confirmations = max(0, n_rounds - 1), min(1, n_rounds)
    n_made = sum(past.n_labels for past in learnt)
    total = Spent()
    for past in learnt:
        total = total.plus(past.other, share * n_rounds)
        runs = loops + confirmations * _confirmation_factor(campaign)
        total = total.plus(past.explore, share * runs)
        total = total.plus(past.train, share * (loops + long_fit_factor(campaign)))
        total = total.plus(past.label, n_labels / max(n_made, 1))
    return total


def _within_budget(campaign: Campaign, used: Spent, most: Spent) -> Spent:
    """Return a cost no larger than what the budget leaves."""
    core, gpu = campaign.budget.core_hours, campaign.budget.gpu_hours
    return Spent(
        most.cpu_s if core is None else min(most.cpu_s, max(0.0, 3600.0 * core - used.cpu_s)),
        most.gpu_s if gpu is None else min(most.gpu_s, max(0.0, 3600.0 * gpu - used.gpu_s)),
    )


def _confirmation_factor(campaign: Campaign) -> float:
    """Return how many times the steps and atoms of a round of the loop a confirmation has."""
    conditions, confirmation = campaign.exploration.conditions, campaign.confirmation
    loop = sum(c.replicas * c.n_steps for c in conditions)
    steps = sum(confirmation.replicas * c.n_steps for c in conditions)
    return steps * confirmation.steps_factor * confirmation.size_factor / max(loop, 1)


def long_fit_factor(campaign: Campaign) -> float:
    """Return how many times the work of a warm fit in the loop the long fit has."""
    nep = campaign.training.nep
    if campaign.training.trainer == "nep":
        return nep.final_generations / nep.warm_generations
    n_atoms = 1e4  # many more than a batch; the neighbours weigh alike in both
    long, warm = (
        training_seconds(campaign, n_atoms, 1.0, stage=stage) for stage in ("final", "warm")
    )
    return long / warm if warm else 1.0


__all__ = [
    "N_LEARNT",
    "Outlook",
    "Standing",
    "campaign_outlook",
    "long_fit_factor",
]
