"""What a force-constant expansion will need: parameters, labels, processor time, and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.campaign.crystal import ideal_supercells
from nepal_flows.campaign.forecast import Forecast, Stage, mean_label_seconds
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.problem import PlanProblem
from nepal_flows.core.structure import Structure
from nepal_flows.engines.force_constants.crystal import Crystal
from nepal_flows.engines.force_constants.library import hiphive, phonopy
from nepal_flows.errors import InputError

STEP_US_PER_CLUSTER = 0.5
"""One atom and step of dynamics, per cluster of an atom, µs: silicon to the fourth order."""

CHECK_US_PER_CLUSTER = 15.0
"""One atom's error bar, or its rows of a fit, per cluster of an atom, µs."""

INTERRUPTIONS = (3, 20)
"""Labels that a trajectory asks for until it runs undisturbed, fewest and most."""

ROWS_PER_PARAMETER = 3.0
"""Force components of the labels, over the parameters, below which bars say little."""


@dataclass(frozen=True)
class Expansion:
    """The terms of a campaign's force constants.

    Attributes
    ----------
    parameters_by_order
        Number of parameters, from the second order on.
    cutoffs_A
        Their cutoffs.
    n_clusters
        Clusters of an atom.
    """

    parameters_by_order: tuple[int, ...]
    cutoffs_A: tuple[float, ...]
    n_clusters: float

    @property
    def n_parameters(self) -> int:
        """Parameters of all orders."""
        return sum(self.parameters_by_order)

    @property
    def words(self) -> str:
        """The expansion as text, one line an order."""
        orders = zip(self.parameters_by_order, self.cutoffs_A, strict=True)
        return "\n".join(
            f"order {order}   cutoff {cutoff:g} Å, {count} parameters"
            for order, (count, cutoff) in enumerate(orders, start=2)
        )


def expansion_of(
    campaign: Campaign, structures: Sequence[Structure]
) -> tuple[Expansion | None, list[PlanProblem]]:
    """Return the terms of a campaign's force constants, and what speaks against them.

    Raises
    ------
    CampaignError
        If a supercell cannot be made.
    """
    section = campaign.model.force_constants
    assert section is not None
    place = "model.force_constants"
    cells = ideal_supercells(campaign, structures)
    crystal = Crystal.of(structures[0], section.cutoffs_A, cells)
    try:
        hiphive(), phonopy()
        bases = [crystal.basis_of(cell) for cell in cells]
    except InputError as error:
        return None, [PlanProblem("error", place, str(error))]
    space = bases[0].space
    found = Expansion(
        parameters_by_order=tuple(np.bincount(bases[0].groups).tolist()),
        cutoffs_A=section.cutoffs_A,
        n_clusters=len(space.cluster_list) / len(space.primitive_structure),
    )
    problems = []
    if section.highest_order % 2:
        problems.append(
            PlanProblem(
                "warning",
                f"{place}.cutoffs_A",
                f"The highest order is {section.highest_order}; an odd one has no lower bound, and "
                "trajectories may run away. Add a cutoff for the next order, or leave this one "
                "out.",
            )
        )
    rows = 3 * cells[0].n_atoms * campaign.budget.labels
    if rows < ROWS_PER_PARAMETER * found.n_parameters:
        problems.append(
            PlanProblem(
                "warning",
                "budget.labels",
                f"{campaign.budget.labels} labels have {rows} force components for "
                f"{found.n_parameters} parameters; raise the budget, or shorten the cutoffs.",
            )
        )
    return found, problems


def expansion_forecast(
    campaign: Campaign,
    expansion: Expansion,
    *,
    labelled: Sequence[Structure],
    starts: Sequence[Structure],
    primitive_n_atoms: int,
    valences: dict[str, float],
) -> Forecast:
    """Return what a campaign with force constants is expected to need; a guess.

    Parameters
    ----------
    campaign, expansion
        The campaign and its model.
    labelled
        Structures like those that will be labelled.
    starts
        A start of every condition.
    primitive_n_atoms
        Atoms of the primitive cell.
    valences
        Valence electrons per element.
    """
    exploration, confirmation = campaign.exploration, campaign.confirmation
    n_runs = sum(condition.replicas for condition in exploration.conditions)
    n_atoms = float(np.mean([structure.n_atoms for structure in labelled]))
    fewest = int(np.ceil(ROWS_PER_PARAMETER * expansion.n_parameters / (3.0 * n_atoms)))
    low, high = (max(fewest, campaign.seeds.n + k * n_runs) for k in INTERRUPTIONS)
    middle = min(0.5 * (low + high), float(campaign.budget.labels))
    loops = int(max(0.0, middle - campaign.seeds.n)) + campaign.convergence.clean_rounds
    passes = 1 + campaign.convergence.clean_rounds  # the first one is that with interruptions
    steps = checks = 0.0
    for condition, start in zip(exploration.conditions, starts, strict=True):
        once = condition.n_steps * start.n_atoms
        larger = confirmation.replicas * confirmation.steps_factor * confirmation.size_factor
        steps += once * (condition.replicas * passes + larger)
    checks = steps / exploration.check_interval
    per_us = 1e-6 * expansion.n_clusters
    one_label = mean_label_seconds(campaign.labels, labelled, primitive_n_atoms, valences)
    stages = (
        Stage("label", middle * one_label, f"{one_label:.3g} CPU s a label, within a factor of 3"),
        Stage("train", middle * n_atoms * per_us * CHECK_US_PER_CLUSTER, "rows of every label"),
        Stage(
            "explore",
            per_us * (steps * STEP_US_PER_CLUSTER + checks * CHECK_US_PER_CLUSTER),
            f"dynamics and error bars, {expansion.n_clusters:.0f} clusters an atom",
        ),
    )
    return Forecast(
        n_labels=(low, high),
        n_iterations=loops + 1,
        n_runs=n_runs * loops + confirmation.replicas * len(starts),
        n_checks=int(sum(c.replicas * c.n_steps for c in exploration.conditions))
        // exploration.check_interval
        * passes,
        stages=stages,
        wall_s=sum(stage.cpu_s for stage in stages) / campaign.resources.workers,
    )


__all__ = ["Expansion", "expansion_forecast", "expansion_of"]
