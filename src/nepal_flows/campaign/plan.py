"""What a campaign will do, before anything runs: inputs, counts, needs, cost, and what is wrong."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.campaign.advice import Advice, small_cell_advice
from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.campaign.expansion import Expansion, expansion_forecast, expansion_of
from nepal_flows.campaign.exploration import Condition
from nepal_flows.campaign.forecast import Forecast, build_forecast
from nepal_flows.campaign.fragments import carving_words, labelled_sample
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.needs import ElementNeed, element_needs
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.campaign.problem import PlanProblem
from nepal_flows.campaign.sanity import plan_problems
from nepal_flows.campaign.small_cell_checks import small_cell_doubts
from nepal_flows.campaign.stages import campaign_at, n_stages
from nepal_flows.campaign.structures import seed_structures, starting_structure
from nepal_flows.core.elements import atomic_number, symbols_of
from nepal_flows.core.lattices import cell_thicknesses
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.errors import CarvingError
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.records.keys import derived_seed

_NOBLE_CORES = (2, 10, 18, 36, 54, 86)


@dataclass(frozen=True)
class ConditionPlan:
    """The molecular dynamics of one condition.

    Attributes
    ----------
    name, formula
        The condition, and what its cell holds.
    n_atoms, n_atoms_confirmation
        Atoms of its cells in the loop and in the confirmation.
    thickness
        Least distance between opposite faces of a cell, Å.
    n_runs, n_steps, n_checks
        Per round: runs, steps of each, gradings of each.
    duration
        Of one run, ps.
    is_extreme
        Whether the wider allowance holds.
    input
        Every setting of a run, as text.
    carving
        Why and how its cells are carved; empty where they are labelled whole.
    """

    name: str
    formula: str
    n_atoms: int
    n_atoms_confirmation: int
    thickness: float
    n_runs: int
    n_steps: int
    n_checks: int
    duration: float
    is_extreme: bool
    input: str
    carving: str = ""


@dataclass(frozen=True)
class StagePlan:
    """One stage of small cells.

    Attributes
    ----------
    words
        Its cells in words: "6 to 8 atoms".
    shape
        "hnf", "folded" or "supercell".
    formulas
        Cells as they may come, one for every condition.
    thickness
        Least distance between opposite faces of these cells, Å.
    max_rounds
        Rounds at most; None for as many as it takes.
    labels_per_iteration
        Most labels of a round.
    """

    words: str
    shape: str
    formulas: tuple[str, ...]
    thickness: float
    max_rounds: int | None
    labels_per_iteration: int


@dataclass(frozen=True, eq=False)
class Plan:
    """What a campaign will do.

    Attributes
    ----------
    nep_in
        The nep.in of its models.
    n_descriptors, n_projection, n_parameters
        Sizes D, d and P.
    needs
        Per element.
    n_seeds, seed_formulas
        Seeds, and what they hold.
    sample
        The first seed: the structure whose label input can be shown.
    conditions
        Molecular dynamics, condition by condition.
    forecast
        Counts and cost.
    problems
        What speaks against running.
    stages
        Stages of small cells, if there are any; ``conditions`` are then those of the first.
    advice
        Whether small cells pay; None without them.
    expansion
        The terms of force constants; None where the model is a NEP.
    """

    nep_in: str
    n_descriptors: int
    n_projection: int
    n_parameters: int
    needs: tuple[ElementNeed, ...]
    n_seeds: int
    seed_formulas: tuple[str, ...]
    sample: Structure
    conditions: tuple[ConditionPlan, ...]
    forecast: Forecast
    problems: tuple[PlanProblem, ...]
    stages: tuple[StagePlan, ...] = ()
    advice: Advice | None = None
    expansion: Expansion | None = None

    @property
    def errors(self) -> tuple[PlanProblem, ...]:
        """The problems that forbid the run."""
        return tuple(problem for problem in self.problems if problem.level == "error")


def build_plan(campaign: Campaign, structures: Sequence[Structure]) -> Plan:
    """Return what a campaign will do, without doing any of it.

    Parameters
    ----------
    campaign
        The campaign, as ``read_campaign`` returns it.
    structures
        Its starting structures, in order.

    Raises
    ------
    CampaignError
        If a seed or a starting structure cannot be made.
    """
    if campaign.model.force_constants is not None:
        return _crystal_plan(campaign, structures)
    nep_input = nep_input_of(campaign)
    architecture = nep_input.architecture
    seeds = [seed.structure for seed in seed_structures(campaign, structures)]
    staged = [campaign_at(campaign, index) for index in range(n_stages(campaign))]
    by_stage = [_sample_starts(stage, structures) for stage in staged]
    first, starts = staged[0], list(by_stage[0].values())
    factor = campaign.confirmation.size_factor
    larger = _sample_starts(first, structures, factor=factor)
    larger |= _sample_starts(staged[-1], structures, factor=factor)
    samples = [_label_sample(campaign, start) for start in starts]
    needs = element_needs(campaign, seeds, samples, architecture.n_projection)
    density = float(np.mean([s.n_atoms / s.volume for s in starts]))
    neighbours = tuple(
        4.0 / 3.0 * math.pi * cutoff**3 * density for cutoff in campaign.model.cutoff_A
    )
    labelled = [*seeds, *samples]
    expected = (
        max(campaign.seeds.n, *(need.labels_needed[0] for need in needs)),
        max(campaign.seeds.n, *(need.labels_needed[1] for need in needs)),
    )
    forecast = build_forecast(
        first,
        n_labels=expected,
        labelled=labelled,
        primitive_n_atoms=primitive_cell(structures[0]).n_atoms,
        neighbours=(neighbours[0], neighbours[1]),
        run_atoms=[s.n_atoms for s in starts],
        n_projection=architecture.n_projection,
        valences={symbol: valence_electrons(symbol) for symbol in architecture.elements},
    )
    return Plan(
        nep_in=format_nep_in(nep_input),
        n_descriptors=architecture.n_descriptors,
        n_projection=architecture.n_projection,
        n_parameters=architecture.n_parameters,
        needs=needs,
        n_seeds=len(seeds),
        seed_formulas=tuple(formula(seed) for seed in seeds),
        sample=seeds[0] if seeds else starts[0],
        conditions=tuple(
            _condition_plan(first, condition, start, larger[condition.name])
            for condition, start in zip(first.exploration.conditions, starts, strict=True)
        ),
        forecast=forecast,
        problems=tuple(
            dict.fromkeys(
                problem
                for stage, cells in zip(staged, by_stage, strict=True)
                for problem in plan_problems(
                    stage,
                    structures=structures,
                    starts=list(cells.values()),
                    larger=[larger.get(name, cell) for name, cell in cells.items()],
                    needs=needs,
                    forecast=forecast,
                )
            )
        )
        + tuple(PlanProblem("warning", *doubt) for doubt in small_cell_doubts(campaign)),
        stages=tuple(
            _stage_plan(campaign, index, list(cells.values()))
            for index, cells in enumerate(by_stage)
            if campaign.small_cells is not None
        ),
        advice=None
        if campaign.small_cells is None
        else small_cell_advice(
            campaign,
            n_rows=sum(0.5 * sum(need.rows_needed) for need in needs),
            labelled=labelled,
            primitive_n_atoms=primitive_cell(structures[0]).n_atoms,
            valences={symbol: valence_electrons(symbol) for symbol in architecture.elements},
        ),
    )


def _crystal_plan(campaign: Campaign, structures: Sequence[Structure]) -> Plan:
    """Return what a campaign will do whose model is force constants."""
    seeds = [seed.structure for seed in seed_structures(campaign, structures)]
    starts = list(_sample_starts(campaign, structures).values())
    factor = campaign.confirmation.size_factor
    larger = list(_sample_starts(campaign, structures, factor=factor).values())
    found, problems = expansion_of(campaign, structures)
    expansion = found or Expansion((), (), 0.0)
    forecast = expansion_forecast(
        campaign,
        expansion,
        labelled=[*seeds, *starts],
        starts=starts,
        primitive_n_atoms=primitive_cell(structures[0]).n_atoms,
        valences={symbol: valence_electrons(symbol) for symbol in campaign.model.elements},
    )
    doubts = plan_problems(
        campaign,
        structures=structures,
        starts=starts,
        larger=larger,
        needs=(),
        forecast=forecast,
    )
    return Plan(
        nep_in="",
        n_descriptors=0,
        n_projection=0,
        n_parameters=expansion.n_parameters,
        needs=(),
        n_seeds=len(seeds),
        seed_formulas=tuple(formula(seed) for seed in seeds),
        sample=seeds[0] if seeds else starts[0],
        conditions=tuple(
            _condition_plan(campaign, *cells)
            for cells in zip(campaign.exploration.conditions, starts, larger, strict=True)
        ),
        forecast=forecast,
        problems=(*problems, *doubts),
        expansion=expansion,
    )


def valence_electrons(symbol: str) -> float:
    """Return a rough number of valence electrons: beyond noble gas and filled d and f shells.

    Examples
    --------
    >>> valence_electrons("Si"), valence_electrons("Cu"), valence_electrons("Ga")
    (4.0, 11.0, 3.0)
    """
    number = atomic_number(symbol)
    core = max(core for core in (0, *_NOBLE_CORES) if core < number)
    beyond = number - core
    shells = ((26, 24), (16, 14)) if core >= 54 else ((12, 10),)
    filled = next((n_filled for limit, n_filled in shells if beyond > limit), 0)
    return float(beyond - filled)


def formula(structure: Structure) -> str:
    """Return the sum formula, elements by atomic number.

    Examples
    --------
    >>> formula(Structure([29, 29, 79], np.zeros((3, 3)), np.eye(3)))
    'Cu2Au'
    """
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    return "".join(
        symbol + (str(count) if count > 1 else "")
        for symbol, count in zip(symbols_of(numbers), counts, strict=True)
    )


def _sample_starts(
    campaign: Campaign, structures: Sequence[Structure], *, factor: float = 1.0
) -> dict[str, Structure]:
    """Return a start of every condition, by its name."""
    return {
        condition.name: starting_structure(
            campaign,
            structures,
            condition,
            rng=np.random.default_rng(derived_seed(campaign.seed, "plan", condition.name, factor)),
            size_factor=factor,
        )
        for condition in campaign.exploration.conditions
    }


def _stage_plan(campaign: Campaign, index: int, cells: Sequence[Structure]) -> StagePlan:
    assert campaign.small_cells is not None
    stage, staged = campaign.small_cells.stages[index], campaign_at(campaign, index)
    is_last = index == n_stages(campaign) - 1
    return StagePlan(
        words=stage.words,
        shape=staged.exploration.conditions[0].start.mode,
        formulas=tuple(formula(cell) for cell in cells),
        thickness=min(float(cell_thicknesses(cell.cell).min()) for cell in cells),
        max_rounds=None if is_last else stage.max_rounds,
        labels_per_iteration=staged.selection.labels_per_iteration,
    )


def _range(value: float | tuple[float, float]) -> str:
    return f"{value[0]:g} to {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def _label_sample(campaign: Campaign, start: Structure) -> Structure:
    try:
        return labelled_sample(campaign, start)
    except CarvingError:
        return start  # a problem of the plan says so


def _condition_plan(
    campaign: Campaign, condition: Condition, start: Structure, large: Structure
) -> ConditionPlan:
    exploration = campaign.exploration
    step = exploration.time_step_fs
    source = campaign.structure_names[campaign.structure_index(condition.start.structure)]
    lines = [
        f"start        {source}, "
        f"{formula(start)}, volume x {_range(condition.start.volume_factor)}, strain "
        f"{condition.start.strain:g}, rattle {condition.start.rattle_A:g} Å, vacancies "
        f"{condition.start.vacancies}",
        f"time_step    {step:g} fs",
    ]
    lines += [f"run_in       {line}" for line in (condition.run_in or "").splitlines()]
    for stage in condition.stages:
        first, last = stage.temperatures_K
        pressures = stage.pressures_GPa
        text = f"{stage.ensemble:12s} {stage.steps} steps, {first:g} -> {last:g} K"
        if stage.ensemble == "npt":
            text += f", {pressures[0]:g} -> {pressures[1]:g} GPa"
        lines.append(text)
    limits = criterion_limits(campaign)
    name = {
        "gamma": "gamma_low",
        "ratio": "R",
        "spread": "R of the committee",
        "level": f"largest level of {', '.join(campaign.selection.criteria)}",
    }[limits.score]
    lines.append(
        f"check        every {exploration.check_interval} steps after {exploration.burn_in_steps}; "
        f"{name} {limits.low:g}, stop {limits.stop or 'at the gate only'}"
    )
    burn_in = exploration.burn_in_steps if condition.run_in is None else 0
    graded = condition.n_steps - burn_in
    return ConditionPlan(
        name=condition.name,
        formula=formula(start),
        n_atoms=start.n_atoms,
        n_atoms_confirmation=large.n_atoms,
        thickness=float(cell_thicknesses(start.cell).min()),
        n_runs=condition.replicas,
        n_steps=condition.n_steps,
        n_checks=graded // exploration.check_interval,
        duration=condition.n_steps * step * 1e-3,
        is_extreme=condition.extreme,
        input="\n".join(lines),
        carving="" if campaign.model.force_constants else carving_words(campaign, start),
    )


__all__ = [
    "ConditionPlan",
    "ElementNeed",
    "Plan",
    "PlanProblem",
    "StagePlan",
    "build_plan",
    "formula",
    "valence_electrons",
]
