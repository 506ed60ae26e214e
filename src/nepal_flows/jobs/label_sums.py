"""What the labels of every stage add up to: numbers of calls and atoms, and their cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.jobs.dataset import Dataset
from nepal_flows.jobs.timing import total_cost
from nepal_flows.records import ChosenLabel, Records
from nepal_flows.schemas import CampaignState, Cost, IterationDoc, LabelSums

SEEDS = "seeds"
"""Name of the labels made before the first model, among the stages."""


@dataclass(frozen=True)
class StageLabels:
    """Sums over the labels of a campaign.

    Attributes
    ----------
    sums, costs
        By stage: `seeds`, then the indices of the stages.
    """

    sums: dict[str, LabelSums]
    costs: dict[str, Cost]


def labels_by_stage(records: Records, state: CampaignState, dataset: Dataset) -> StageLabels:
    """Return what the labels of every stage add up to, this iteration's included."""
    rows = records.rows(
        IterationDoc, {"campaign_id": state.campaign_id}, ["iteration", "size_stage"]
    )
    stages = {row["iteration"]: row.get("size_stage") or 0 for row in rows}
    stages[state.iteration] = state.size_stage
    grouped: dict[str, list[ChosenLabel]] = {}
    for entry in (*dataset.train, *dataset.holdout, *dataset.quarantined):
        stage = SEEDS if entry.iteration is None else str(stages.get(entry.iteration, 0))
        grouped.setdefault(stage, []).append(entry)
    names = sorted(grouped, key=lambda name: -1 if name == SEEDS else int(name))
    return StageLabels(
        sums={name: label_sums([e.label.n_atoms for e in grouped[name]]) for name in names},
        costs={name: total_cost([e.label.cost for e in grouped[name]]) for name in names},
    )


def label_sums(sizes: Sequence[int]) -> LabelSums:
    """Return what labels of so many atoms add up to."""
    return LabelSums(
        n_labels=len(sizes),
        n_atoms=sum(sizes),
        n_atoms_squared=sum(n**2 for n in sizes),
        n_atoms_cubed=sum(n**3 for n in sizes),
    )


__all__ = ["SEEDS", "StageLabels", "label_sums", "labels_by_stage"]
