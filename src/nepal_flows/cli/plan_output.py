"""How `nepal plan` shows a plan."""

import json
from collections.abc import Sequence
from typing import Any

from nepal_flows.campaign.advice import advice_line
from nepal_flows.campaign.plan import Plan, formula
from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.cli.output import seconds, table
from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.jobs.labeler import labeler_of


def label_input(loaded: LoadedCampaign, sample: Structure) -> str:
    """Return the exact input of a label, or its settings where the code writes no input file."""
    labeler: Any = labeler_of(loaded.campaign, loaded.structures)
    write = getattr(labeler, "input_text", None)
    if write is not None:
        return str(write(sample, labeler.kpoints.mesh(sample)))
    return json.dumps(labeler.inputs(), indent=1, ensure_ascii=False, default=str)


def labels_problem(loaded: LoadedCampaign) -> str | None:
    """Return why labels cannot be made on this machine, or None.

    Raises
    ------
    CampaignError
        If the calculator does not exist or refuses its arguments.
    """
    try:
        labeler_of(loaded.campaign, loaded.structures).check(loaded.campaign.model.elements)
    except LabelError as error:
        return str(error)
    return None


def plan_content(loaded: LoadedCampaign, plan: Plan, label_text: str) -> dict[str, Any]:
    """Return the JSON document of a plan."""
    forecast = plan.forecast
    return {
        "campaign": loaded.campaign.name,
        "nep_in": plan.nep_in or None,
        "force_constants": plan.expansion,
        "n_descriptors": plan.n_descriptors,
        "n_projection": plan.n_projection,
        "n_parameters": plan.n_parameters,
        "needs": plan.needs,
        "seeds": {"n": plan.n_seeds, "formulas": plan.seed_formulas},
        "conditions": [
            {
                "name": c.name,
                "formula": c.formula,
                "n_atoms": c.n_atoms,
                "n_atoms_confirmation": c.n_atoms_confirmation,
                "thickness_A": c.thickness,
                "n_runs": c.n_runs,
                "n_steps": c.n_steps,
                "n_checks": c.n_checks,
                "duration_ps": c.duration,
                "is_extreme": c.is_extreme,
                "input": c.input,
                "carving": c.carving or None,
            }
            for c in plan.conditions
        ],
        "small_cell_stages": plan.stages,
        "small_cell_advice": plan.advice,
        "label_input": label_text,
        "forecast": {
            "n_labels": forecast.n_labels,
            "n_iterations": forecast.n_iterations,
            "n_runs": forecast.n_runs,
            "n_checks": forecast.n_checks,
            "cpu_s": forecast.cpu_s,
            "wall_s": forecast.wall_s,
            "stages": forecast.stages,
        },
        "problems": plan.problems,
    }


def plan_lines(loaded: LoadedCampaign, plan: Plan, label_text: str, *, brief: bool) -> list[str]:
    """Return a plan as text."""
    campaign = loaded.campaign
    lines = [
        f"Campaign {campaign.name}",
        "",
        *_model_lines(plan, campaign.model.elements),
        "",
        f"Seeds: {plan.n_seeds} ({_counted(plan.seed_formulas)})",
        *_stage_lines(plan),
        "",
        "Exploration, each round:" if not plan.stages else "Exploration, each round of stage 1:",
        *_condition_lines(plan),
        "",
        *_forecast_lines(loaded, plan),
    ]
    if not brief:
        lines += [] if plan.expansion else ["", "nep.in:", _indented(plan.nep_in)]
        lines += ["", "Molecular dynamics:"]
        for condition in plan.conditions:
            lines += [f"  {condition.name}", _indented(condition.input, 4)]
        lines += ["", f"Label of a sample ({formula(plan.sample)}):", _indented(label_text)]
    return lines + problem_lines(plan)


def problem_lines(plan: Plan) -> list[str]:
    """Return what speaks against running, errors first."""
    ordered = sorted(plan.problems, key=lambda problem: problem.level)
    lines = [f"  {p.level}: {p.place}: {p.message}" for p in ordered]
    if not lines:
        return ["", "Nothing speaks against running it."]
    verdict = "This cannot run:" if plan.errors else "Think about this before running:"
    return ["", verdict, *lines]


def _model_lines(plan: Plan, elements: Sequence[str]) -> list[str]:
    """Return what the model is, and what it needs."""
    if plan.expansion is not None:
        return [
            f"Model: force constants of a crystal of {', '.join(elements)}, {plan.n_parameters} "
            "parameters",
            _indented(plan.expansion.words),
        ]
    return [
        f"Model: {', '.join(elements)}; D = {plan.n_descriptors} descriptors, "
        f"d = {plan.n_projection} network parameters per element, {plan.n_parameters} in all",
        *_need_lines(plan),
    ]


def _need_lines(plan: Plan) -> list[str]:
    rows = [
        [
            need.element,
            need.n_projection,
            f"{need.rows_needed[0]} to {need.rows_needed[1]}",
            need.rows_from_seeds,
            float(need.rows_per_label),
            f"{need.labels_needed[0]} to {need.labels_needed[1]}",
        ]
        for need in plan.needs
    ]
    columns = ["element", "d", "environments needed", "from seeds", "per label", "labels"]
    return table(columns, rows, indent="  ")


def _condition_lines(plan: Plan) -> list[str]:
    rows = [
        [
            c.name,
            c.formula,
            c.n_runs,
            c.n_steps,
            float(c.duration),
            c.n_checks,
            c.n_atoms_confirmation,
            float(round(c.thickness, 1)),
            "extreme" if c.is_extreme else "",
        ]
        for c in plan.conditions
    ]
    columns = ["condition", "cell", "runs", "steps", "ps", "checks", "confirm", "thin Å", ""]
    carved = [f"  {c.name}: {c.carving}" for c in plan.conditions if c.carving]
    return [*table(columns, rows, indent="  "), *carved]


def _stage_lines(plan: Plan) -> list[str]:
    """Return the stages of small cells as a table; nothing without any."""
    if not plan.stages:
        return []
    rows = [
        [
            number,
            stage.words,
            stage.shape,
            ", ".join(dict.fromkeys(stage.formulas)),
            float(round(stage.thickness, 1)),
            stage.labels_per_iteration,
            "to the end"
            if number == len(plan.stages)
            else stage.max_rounds or "until nothing is found",
        ]
        for number, stage in enumerate(plan.stages, start=1)
    ]
    columns = ["stage", "cells", "shape", "as", "thin Å", "labels a round", "rounds at most"]
    lines = ["", "Stages of small cells:", *table(columns, rows, indent="  ")]
    return lines if plan.advice is None else [*lines, f"  {advice_line(plan.advice)}"]


def _forecast_lines(loaded: LoadedCampaign, plan: Plan) -> list[str]:
    forecast, budget = plan.forecast, loaded.campaign.budget
    low, high = forecast.n_labels
    stages = [[s.name, seconds(s.cpu_s), s.basis] for s in forecast.stages]
    return [
        f"Forecast: {low} to {high} labels (budget {budget.labels}), about "
        f"{forecast.n_iterations} iterations, {forecast.n_runs} runs, {forecast.n_checks} checks",
        *table(["stage", "CPU time", "from"], stages, indent="  "),
        f"  about {seconds(forecast.wall_s)} on {loaded.campaign.resources.workers} workers",
    ]


def _counted(formulas: tuple[str, ...]) -> str:
    kinds = dict.fromkeys(formulas)
    parts = [f"{formulas.count(kind)} x {kind}" for kind in kinds]
    return ", ".join(parts[:6]) + (f" and {len(parts) - 6} more" if len(parts) > 6 else "")


def _indented(text: str, width: int = 2) -> str:
    return "\n".join(" " * width + line for line in text.rstrip().splitlines())


__all__ = [
    "label_input",
    "labels_problem",
    "plan_content",
    "plan_lines",
    "problem_lines",
]
