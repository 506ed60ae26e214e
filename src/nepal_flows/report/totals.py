"""What a campaign adds up to, without reading its documents whole.

`nepal status` must answer at once when there are ten thousand labels: it reads the newest
documents, and of all others a few fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nepal_flows.campaign.past_rounds import PastRound, Spent
from nepal_flows.records import Records, chosen_keys
from nepal_flows.records.chosen import label_rows
from nepal_flows.schemas import CampaignDoc, Cost, IterationDoc, LabelDoc

_STAGES = frozenset({"label", "train", "explore"})


@dataclass(frozen=True)
class Totals:
    """Sums over documents that were not loaded.

    Attributes
    ----------
    n_iterations
        Iterations that ended.
    n_labels, n_holdout, n_failed
        Labels of the campaign, those held out, those in quarantine.
    n_atoms
        Atoms in labels that are done.
    cost
        Of the iterations and of the seeds' labels.
    past
        What every iteration took, oldest first.
    newest
        When the newest of them was written, as text; empty where there is none.
    """

    n_iterations: int = 0
    n_labels: int = 0
    n_holdout: int = 0
    n_failed: int = 0
    n_atoms: int = 0
    cost: Cost = field(default_factory=Cost)
    past: tuple[PastRound, ...] = ()
    newest: str = ""


def campaign_totals(records: Records, campaign: CampaignDoc) -> Totals:
    """Return what a campaign adds up to."""
    wanted = ["iteration", "costs", "created_at", "n_labels_total"]
    rounds = list(
        records.rows(IterationDoc, {"campaign_id": campaign.key}, wanted, sort={"iteration": 1})
    )
    roles = {
        key: (frame.role, iteration)
        for key, (frame, iteration) in chosen_keys(
            records, campaign.key, campaign.fixed["labels"]
        ).items()
    }
    flat = ["key", "status", "n_atoms", "created_at"]  # nested ones take longer to read
    labels = label_rows(records, campaign.key, roles, flat).values()
    done = [label for label in labels if label["status"] == "done"]
    first = {key for key, (_, iteration) in roles.items() if iteration is None}
    own = (None, campaign.key)
    seeds = [
        label["cost"]
        for label in records.rows(
            LabelDoc, {"key": {"$in": sorted(first)}}, ["cost", "campaign_id"]
        )
        if label["campaign_id"] in own
    ]
    return Totals(
        n_iterations=len(rounds),
        n_labels=len(labels),
        n_holdout=sum(roles[label["key"]][0] == "holdout" for label in done),
        n_failed=len(labels) - len(done),
        n_atoms=sum(label["n_atoms"] for label in done),
        cost=_sum([*(cost for row in rounds for cost in row["costs"].values()), *seeds]),
        past=past_rounds(rounds, n_seeds=len(seeds)),
        newest=max((row["created_at"] for row in (*rounds, *labels)), default=""),
    )


def past_rounds(rounds: Iterable[Mapping[str, Any]], *, n_seeds: int) -> tuple[PastRound, ...]:
    """Return what iterations took, of some fields of their documents.

    Parameters
    ----------
    rounds
        ``costs`` and ``n_labels_total``, oldest first.
    n_seeds
        Labels before the first.
    """
    past, before = [], n_seeds
    for row in rounds:
        costs = {name: _spent(cost) for name, cost in row["costs"].items()}
        other = Spent()
        for name in costs.keys() - _STAGES:
            other = other.plus(costs[name])
        stages = {name: costs.get(name, Spent()) for name in _STAGES}
        n_labels = max(0, row["n_labels_total"] - before)
        past.append(PastRound(n_labels=n_labels, other=other, **stages))
        before = row["n_labels_total"]
    return tuple(past)


def _spent(cost: Mapping[str, Any]) -> Spent:
    return Spent(cost["cpu_s"], cost.get("gpu_s", 0.0))


def _sum(costs: Iterable[Mapping[str, Any]]) -> Cost:
    costs = list(costs)
    return Cost(
        wall_s=sum(cost["wall_s"] for cost in costs),
        cpu_s=sum(cost["cpu_s"] for cost in costs),
        gpu_s=sum(cost.get("gpu_s", 0.0) for cost in costs),
    )


__all__ = ["Totals", "campaign_totals", "past_rounds"]
