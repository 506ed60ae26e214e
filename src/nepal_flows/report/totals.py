"""What a campaign adds up to, without reading its documents whole.

`nepal status` must answer at once when there are ten thousand labels: it reads the newest
documents, and of all others a few fields.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nepal_flows.records import Records, chosen_keys
from nepal_flows.schemas import CampaignDoc, Cost, IterationDoc, LabelDoc


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
    newest
        When the newest of them was written, as text; empty where there is none.
    """

    n_iterations: int = 0
    n_labels: int = 0
    n_holdout: int = 0
    n_failed: int = 0
    n_atoms: int = 0
    cost: Cost = field(default_factory=Cost)
    newest: str = ""


def campaign_totals(records: Records, campaign: CampaignDoc) -> Totals:
    """Return what a campaign adds up to."""
    rounds = list(
        records.rows(IterationDoc, {"campaign_id": campaign.key}, ["costs", "created_at"])
    )
    roles = {
        key: (frame.role, iteration)
        for key, (frame, iteration) in chosen_keys(
            records, campaign.key, campaign.fixed["labels"]
        ).items()
    }
    fields = ["key", "status", "n_atoms", "cost", "created_at", "campaign_id"]
    labels = list(records.rows(LabelDoc, {"key": {"$in": list(roles)}}, fields))
    done = [label for label in labels if label["status"] == "done"]
    own = (None, campaign.key)
    seeds = [
        label["cost"]
        for label in labels
        if roles[label["key"]][1] is None and label["campaign_id"] in own
    ]
    return Totals(
        n_iterations=len(rounds),
        n_labels=len(labels),
        n_holdout=sum(roles[label["key"]][0] == "holdout" for label in done),
        n_failed=len(labels) - len(done),
        n_atoms=sum(label["n_atoms"] for label in done),
        cost=_sum([*(cost for row in rounds for cost in row["costs"].values()), *seeds]),
        newest=max((row["created_at"] for row in (*rounds, *labels)), default=""),
    )


def _sum(costs: Iterable[Mapping[str, Any]]) -> Cost:
    costs = list(costs)
    return Cost(
        wall_s=sum(cost["wall_s"] for cost in costs), cpu_s=sum(cost["cpu_s"] for cost in costs)
    )


__all__ = ["Totals", "campaign_totals"]
