"""A campaign in one of its stages: which one comes when, and what is explored in it.

A campaign without ``small_cells`` has one stage, itself.
"""

from collections.abc import Sequence

from nepal_flows.campaign.exploration import CellMode
from nepal_flows.campaign.labels import DftLabels
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.small_cells import (
    SizeStage,
    default_stages,
    exploration_with_defaults,
    seeds_with_defaults,
    staged_condition,
)
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.schemas import IterationDoc

_VACANCIES = {"recommended": 0.3, "published": 0.65}
_RANK_GAIN = {"recommended": 0.5, "published": 0.0}


def with_small_cells(campaign: Campaign, structures: Sequence[Structure]) -> Campaign:
    """Return the campaign with what its mode of small cells fills in.

    Parameters
    ----------
    campaign
        The campaign, as its file gives it.
    structures
        Its starting structures, in order.
    """
    small = campaign.small_cells
    if small is None:
        return campaign
    unit_atoms = [primitive_cell(structure).n_atoms for structure in structures]
    stages = small.stages or default_stages(small.mode, _shape(campaign), unit_atoms)
    vacancies, gain = small.vacancy_probability, small.rank_gain
    filled = small.model_copy(
        update={
            "stages": stages,
            "vacancy_probability": _VACANCIES[small.mode] if vacancies is None else vacancies,
            "rank_gain": _RANK_GAIN[small.mode] if gain is None else gain,
        }
    )
    seeds = seeds_with_defaults(campaign.seeds, small.mode, _shape(campaign), unit_atoms)
    exploration = exploration_with_defaults(campaign.exploration, small.mode)
    return campaign.model_copy(
        update={"small_cells": filled, "seeds": seeds, "exploration": exploration}
    )


def n_stages(campaign: Campaign) -> int:
    """Return the number of stages; 1 without small cells."""
    return 1 if campaign.small_cells is None else len(campaign.small_cells.stages)


def stage_of(campaign: Campaign, index: int) -> SizeStage | None:
    """Return a stage by its index, the last beyond it; None without small cells."""
    if campaign.small_cells is None:
        return None
    stages = campaign.small_cells.stages
    return stages[min(index, len(stages) - 1)]


def campaign_at(campaign: Campaign, index: int) -> Campaign:
    """Return the campaign of one stage, which has no stages itself.

    Its conditions start in the stage's cells; the rest of the loop need not know of stages.
    """
    small, stage = campaign.small_cells, stage_of(campaign, index)
    if small is None or stage is None:
        return campaign
    shape, vacancies = _shape(campaign), small.vacancy_probability or 0.0
    conditions = tuple(
        staged_condition(condition, stage, shape=shape, vacancy_probability=vacancies)
        for condition in campaign.exploration.conditions
        if stage.conditions is None or condition.name in stage.conditions
    )
    limits = {
        "labels_per_iteration": stage.labels_per_iteration,
        "audit_per_iteration": stage.audit_per_iteration,
    }
    given = {name: value for name, value in limits.items() if value is not None}
    return campaign.model_copy(
        update={
            "small_cells": None,
            "exploration": campaign.exploration.model_copy(update={"conditions": conditions}),
            "selection": campaign.selection.model_copy(update=given),
        }
    )


def stage_end(document: IterationDoc, campaign: Campaign) -> str | None:
    """Return why the stage of an iteration is over, in a sentence; None while it goes on.

    The last stage never is: it ends with the campaign. A stage is over when

    - a whole round met nothing above the threshold, and all its steps ran;
    - it has had its ``max_rounds``;
    - the ranks grew by less than ``rank_gain`` of the environments that its last round added;
    - it holds all criteria of the certificate but the confirmation, or has stalled.
    """
    stage, index = stage_of(campaign, document.size_stage), document.size_stage
    small = campaign.small_cells
    if small is None or stage is None or index >= len(small.stages) - 1:
        return None
    n_rounds, gain = document.stage_round + 1, document.rank_gain
    if document.conditions and all(
        verdict.n_exceeded_windows == 0 and verdict.finished_steps >= verdict.requested_steps
        for verdict in document.conditions
    ):
        return "A whole round met nothing above the threshold."
    if stage.max_rounds is not None and n_rounds >= stage.max_rounds:
        return f"It had its {stage.max_rounds} round{'s' if stage.max_rounds > 1 else ''}."
    if document.stage_round > 0 and gain is not None and gain < (small.rank_gain or 0.0):
        return (
            f"The ranks grew by {100.0 * gain:.0f} % of the environments added, less than "
            f"{100.0 * (small.rank_gain or 0.0):g} %."
        )
    if document.is_ready_for_confirmation:
        return "Every criterion holds but the confirmation, which belongs to the last stage."
    return "It stalled." if document.is_stalled else None


def _shape(campaign: Campaign) -> CellMode:
    """Return the shape of cells that a stage does not name."""
    labels, small = campaign.labels, campaign.small_cells
    if isinstance(labels, DftLabels) and labels.kpoints.mode == "folded":
        return "folded"
    return "supercell" if small is not None and small.mode == "published" else "hnf"


__all__ = ["campaign_at", "n_stages", "stage_end", "stage_of", "with_small_cells"]
