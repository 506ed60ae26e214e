"""What speaks against running a campaign: nonsense is refused, doubts are warnings."""

import math
from collections.abc import Sequence
from typing import Literal

from ase.data import atomic_masses

from nepal_flows.campaign.defaults import has_vacuum
from nepal_flows.campaign.exploration import Stage
from nepal_flows.campaign.forecast import Forecast
from nepal_flows.campaign.fragments import labelled_sample
from nepal_flows.campaign.label_sanity import label_problems
from nepal_flows.campaign.labels import DftLabels
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.needs import ElementNeed
from nepal_flows.campaign.problem import PlanProblem
from nepal_flows.core.elements import atomic_number
from nepal_flows.core.lattices import cell_thicknesses, widest_gap
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError

DUMP_BYTES_PER_ATOM = 50.0
"""One atom of a frame in GPUMD's extrapolation_dump.xyz, bytes."""

LARGEST_DUMP_BYTES = 5e9
"""Size of that file above which a plan warns, bytes."""

LONGEST_DAYS = 30.0
"""Forecast above which a plan asks whether it is meant, days."""


def plan_problems(
    campaign: Campaign,
    *,
    structures: Sequence[Structure],
    starts: Sequence[Structure],
    larger: Sequence[Structure],
    needs: Sequence[ElementNeed],
    forecast: Forecast,
) -> tuple[PlanProblem, ...]:
    """Return what speaks against running a campaign.

    Parameters
    ----------
    campaign
        The campaign, elements filled in.
    structures
        Its starting structures.
    starts, larger
        One start of every condition, in the loop and in the confirmation.
    needs
        What every element needs.
    forecast
        Counts and cost.
    """
    is_nep = campaign.model.force_constants is None
    found = [
        *_time_step_problems(campaign),
        *_condition_problems(campaign, structures, starts, larger),
        *_gpumd_problems(campaign, starts, larger),
        *(_carving_problems(campaign, starts, larger) if is_nep else ()),
        *_need_problems(campaign, needs, forecast),
        *label_problems(campaign, structures),
        *_cost_problems(campaign, forecast),
    ]
    return tuple(dict.fromkeys(found))


def _time_step_problems(campaign: Campaign) -> list[PlanProblem]:
    step = campaign.exploration.time_step_fs
    masses = {s: float(atomic_masses[atomic_number(s)]) for s in campaign.model.elements}
    lightest = min(masses, key=masses.__getitem__)
    limit = math.sqrt(masses[lightest])
    if step <= 0.7 * limit:
        return []
    level: Literal["error", "warning"] = "error" if step > limit else "warning"
    return [
        PlanProblem(
            level,
            "exploration.time_step_fs",
            f"{step:g} fs is {'too long' if level == 'error' else 'long'} for {lightest} "
            f"({masses[lightest]:.1f} amu); at most {0.7 * limit:.1f} fs is advised, half the "
            f"square root of the mass ({0.5 * limit:.1f} fs) is safe.",
        )
    ]


def _condition_problems(
    campaign: Campaign,
    structures: Sequence[Structure],
    starts: Sequence[Structure],
    larger: Sequence[Structure],
) -> list[PlanProblem]:
    found = []
    expansion = campaign.model.force_constants
    radial = campaign.model.cutoff_A[0] if expansion is None else expansion.cutoffs_A[0]
    for index, condition in enumerate(campaign.exploration.conditions):
        place = f"exploration.conditions[{index}] ({condition.name})"
        start = starts[index]
        thin = float(cell_thicknesses(start.cell).min())
        thick = float(cell_thicknesses(larger[index].cell).min())
        structure = structures[campaign.structure_index(condition.start.structure)]
        if thin < 1.7:
            found.append(
                PlanProblem("error", place, f"The cell is {thin:.2f} Å thin; ask for more atoms.")
            )
        if thick < radial:
            found.append(
                PlanProblem(
                    "warning",
                    place,
                    f"Even the confirmation's cell ({larger[index].n_atoms} atoms, {thick:.1f} Å "
                    f"thin) is thinner than the largest cutoff {radial:g} Å; raise "
                    "`confirmation.size_factor`.",
                )
            )
        if condition.start.vacancies > 0.2 * (start.n_atoms + condition.start.vacancies):
            found.append(
                PlanProblem("error", place, f"{condition.start.vacancies} vacancies are too many.")
            )
        for stage in condition.stages:
            found += _stage_problems(place, stage, structure)
    return found


def _gpumd_problems(
    campaign: Campaign, starts: Sequence[Structure], larger: Sequence[Structure]
) -> list[PlanProblem]:
    """Return what GPUMD would refuse, or fill a disk with."""
    exploration = campaign.exploration
    if exploration.engine != "gpumd":
        return []
    found = []
    for index, condition in enumerate(exploration.conditions):
        place = f"exploration.conditions[{index}] ({condition.name})"
        if starts[index].n_atoms < 2:
            found.append(PlanProblem("error", place, "GPUMD needs two atoms or more in a cell."))
        if any(min(stage.temperatures_K) <= 0.0 for stage in condition.stages):
            found.append(
                PlanProblem("error", place, "GPUMD takes temperatures above 0 K only, as 1 K.")
            )
        if condition.run_in is not None and exploration.burn_in_steps:
            found.append(
                PlanProblem(
                    "warning",
                    place,
                    "`burn_in_steps` and couplings are those of the `run_in`: all its steps are "
                    "graded.",
                )
            )
        n_frames = condition.n_steps / exploration.check_interval
        size = n_frames * max(starts[index].n_atoms, larger[index].n_atoms) * DUMP_BYTES_PER_ATOM
        if size > LARGEST_DUMP_BYTES:
            found.append(
                PlanProblem(
                    "warning",
                    place,
                    f"A run writes {size / 1e9:.0f} GB of graded frames into the scratch folder; "
                    "raise `exploration.check_interval`.",
                )
            )
    return found


def _carving_problems(
    campaign: Campaign, starts: Sequence[Structure], larger: Sequence[Structure]
) -> list[PlanProblem]:
    """Return what forbids fragments of large cells."""
    carved = [
        (index, start)
        for index, pair in enumerate(zip(starts, larger, strict=True))
        for start in pair
        if campaign.carving.carves(start.n_atoms)
    ]
    found = []
    labels = campaign.labels
    if carved and isinstance(labels, DftLabels) and labels.kpoints.mode == "folded":
        found.append(
            PlanProblem(
                "error",
                "labels.kpoints.mode",
                "Fragments of large cells are no multiples of the first structure, so `folded` has "
                "no grid for them. Take `spacing`, and check that cells of several sizes agree "
                "(`nepal check-labels`).",
            )
        )
    if carved and campaign.selection.criterion != "grade":
        found.append(
            PlanProblem(
                "error",
                "selection.criterion",
                "Large cells are carved where the grade is high, so that it must be the only "
                "criterion. Take `grade`, or `carving: {mode: never}`.",
            )
        )
    for index, start in carved:
        try:
            labelled_sample(campaign, start)
        except CarvingError as error:
            place = f"exploration.conditions[{index}]"
            words = f"{error} Or raise `carving.parent_atoms` above {start.n_atoms}."
            found.append(PlanProblem("error", place, words))
    return found


def _stage_problems(place: str, stage: Stage, structure: Structure) -> list[PlanProblem]:
    found = []
    hottest = max(stage.temperatures_K)
    if hottest > 20000.0:
        found.append(
            PlanProblem("error", place, f"{hottest:g} K is a plasma; give at most 20000 K.")
        )
    if stage.ensemble != "nve" and min(stage.temperatures_K) == 0.0:
        found.append(
            PlanProblem("error", place, "0 K moves nothing; give a temperature above zero.")
        )
    if max(abs(p) for p in stage.pressures_GPa) > 1000.0:
        found.append(PlanProblem("error", place, "Pressures beyond 1000 GPa are not meant."))
    if min(stage.pressures_GPa) < -5.0:
        found.append(
            PlanProblem("warning", place, "Such tension may tear the crystal; the gate will fire.")
        )
    if stage.ensemble == "npt" and not all(structure.pbc):
        found.append(
            PlanProblem("error", place, "npt needs a structure that is periodic throughout.")
        )
    elif stage.ensemble == "npt" and has_vacuum(structure):
        found.append(
            PlanProblem(
                "warning",
                place,
                f"The cell holds {widest_gap(structure):.1f} Å of vacuum, which npt would change; "
                "use nvt.",
            )
        )
    if stage.ensemble != "npt" and stage.pressures_GPa != (0.0, 0.0):
        found.append(
            PlanProblem("error", place, f"`pressure_GPa` means nothing with {stage.ensemble}.")
        )
    return found


def _need_problems(
    campaign: Campaign, needs: Sequence[ElementNeed], forecast: Forecast
) -> list[PlanProblem]:
    found = []
    for need in needs:
        if need.rows_per_label == 0.0:
            found.append(
                PlanProblem(
                    "error",
                    "exploration.conditions",
                    f"No condition holds {need.element}: its environments are never explored.",
                )
            )
            continue
        if need.rows_from_seeds < need.n_projection // 4 and campaign.seeds.n > 0:
            found.append(
                PlanProblem(
                    "warning",
                    "seeds.n",
                    f"The seeds bring {need.rows_from_seeds} environments of {need.element} for "
                    f"{need.n_projection} columns; grades have no scale in the first rounds.",
                )
            )
        if campaign.budget.labels < need.labels_needed[0]:
            found.append(
                PlanProblem(
                    "warning",
                    "budget.labels",
                    f"{campaign.budget.labels} labels are fewer than {need.element} is expected to "
                    f"need ({need.labels_needed[0]} to {need.labels_needed[1]}); raise the "
                    "budget, or lower `model.neuron`.",
                )
            )
    hours = campaign.budget.core_hours
    if hours is not None and forecast.cpu_s > 3600.0 * hours:
        found.append(
            PlanProblem(
                "warning",
                "budget.core_hours",
                f"About {forecast.cpu_s / 3600.0:.2g} core-hours are expected, {hours:g} allowed.",
            )
        )
    rounds = forecast.n_iterations
    if rounds > campaign.budget.iterations:
        found.append(
            PlanProblem(
                "warning",
                "budget.iterations",
                f"{rounds} iterations are expected, {campaign.budget.iterations} allowed.",
            )
        )
    return found


def _cost_problems(campaign: Campaign, forecast: Forecast) -> list[PlanProblem]:
    """Return a warning where the forecast is longer than anyone waits."""
    days = forecast.wall_s / 86400.0
    if days <= LONGEST_DAYS:
        return []
    stage = max(forecast.stages, key=lambda item: item.cpu_s)
    place = {"label": "labels", "train": "training", "explore": "exploration.conditions"}
    return [
        PlanProblem(
            "warning",
            place.get(stage.name, stage.name),
            f"About {days:.3g} days on {campaign.resources.workers} workers are expected, most of "
            f"them to {stage.name} ({stage.basis}). Ask for fewer or smaller "
            f"{ {'label': 'labels', 'train': 'fits'}.get(stage.name, 'runs') }, or bring more "
            "workers.",
        )
    ]


__all__ = ["LONGEST_DAYS", "plan_problems"]
