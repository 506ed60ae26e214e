"""What a campaign will need and cost, from rules and constants that were measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nepal_flows.campaign.labels import AseLabels, EspressoLabels
from nepal_flows.campaign.model import Campaign

MD_US_PER_NEIGHBOUR = 0.04
"""One atom and step of native molecular dynamics, per neighbour (radial + 2 angular), µs."""

GRADE_US_PER_COLUMN_SQUARED = 0.3e-3
"""One graded atom, over d squared, µs."""

GRADIENT_US_PER_NEIGHBOUR = 0.03
"""One atom of one exact training gradient, per neighbour (radial + 2 angular), µs."""

DFT_SECONDS = {"espresso": 0.93, "cp2k": 3.0}
"""One label of 8 to 16 silicon atoms with folded k-points, CPU seconds per atom."""

LATE_ROUNDS = 1.5
"""Rounds over those that full batches would take: the last ones find few frames."""

_ELECTRONS_OF_SILICON = 4.0
_EMT_SECONDS_PER_ATOM = 2e-4
_UNKNOWN_SECONDS_PER_ATOM = 0.05
_PROCESS_START_SECONDS = 1.0


@dataclass(frozen=True)
class Stage:
    """What one stage of the whole campaign is expected to take.

    Attributes
    ----------
    name
        train, explore, label ...
    cpu_s
        CPU time, s.
    basis
        What the number rests on, in words.
    """

    name: str
    cpu_s: float
    basis: str


@dataclass(frozen=True)
class Forecast:
    """What a campaign is expected to need.

    Attributes
    ----------
    n_labels
        Labels, lowest and highest expected number (within the budget or beyond it).
    n_iterations
        Iterations, the confirmation included.
    n_runs, n_checks
        Molecular-dynamics runs and gradings of frames in all iterations.
    stages
        CPU time by stage.
    wall_s
        Elapsed time on the workers asked for, s.
    """

    n_labels: tuple[int, int]
    n_iterations: int
    n_runs: int
    n_checks: int
    stages: tuple[Stage, ...]
    wall_s: float

    @property
    def cpu_s(self) -> float:
        """CPU time of all stages, s."""
        return sum(stage.cpu_s for stage in self.stages)


def label_seconds(campaign: Campaign, n_atoms: float, valences: Mapping[str, float]) -> float:
    """Return the expected CPU time of one label, s; a guess within a factor of three.

    Parameters
    ----------
    campaign
        The campaign, whose labels section is read.
    n_atoms
        Atoms of the label.
    valences
        Valence electrons per element.
    """
    labels = campaign.labels
    if isinstance(labels, AseLabels):
        cheap = labels.calculator.lower() in {"emt", "lj", "morse", "tersoff"}
        return n_atoms * (_EMT_SECONDS_PER_ATOM if cheap else _UNKNOWN_SECONDS_PER_ATOM)
    mean = sum(valences.values()) / max(len(valences), 1)
    power = 1.0 if labels.kpoints.mode == "folded" else 1.5
    size = math.pow(max(1.0, n_atoms / 16.0), power)
    scale = n_atoms * size * math.pow(mean / _ELECTRONS_OF_SILICON, 1.5)
    if isinstance(labels, EspressoLabels):
        return DFT_SECONDS["espresso"] * scale * math.pow(labels.ecutwfc_Ry / 30.0, 1.5)
    return DFT_SECONDS["cp2k"] * scale * labels.cutoff_Ry / 300.0


def training_seconds(campaign: Campaign, n_atoms: float, neighbours: float, *, stage: str) -> float:
    """Return the CPU time of one fit, s.

    Parameters
    ----------
    campaign
        The campaign.
    n_atoms
        Atoms in the training set.
    neighbours
        Neighbours that weigh in: radial + 2 angular.
    stage
        "cold", "warm" or "final".
    """
    t = campaign.training
    adam, lbfgs = {
        "cold": (t.adam_steps, t.lbfgs_steps),
        "warm": (t.warm_adam_steps, t.warm_lbfgs_steps),
        "final": (t.final_adam_steps, t.final_lbfgs_steps),
    }[stage]
    evaluations = adam * min(float(t.batch_atoms), n_atoms) + lbfgs * n_atoms
    return evaluations * neighbours * GRADIENT_US_PER_NEIGHBOUR * 1e-6


def build_forecast(
    campaign: Campaign,
    *,
    n_labels: tuple[int, int],
    atoms_per_label: float,
    neighbours: tuple[float, float],
    run_atoms: Sequence[float],
    n_projection: int,
    valences: Mapping[str, float],
) -> Forecast:
    """Return what a campaign is expected to need.

    Parameters
    ----------
    campaign
        The campaign.
    n_labels
        Labels expected, lowest and highest.
    atoms_per_label
        Their mean number of atoms.
    neighbours
        Radial and angular neighbours of an atom.
    run_atoms
        Atoms of the runs of every condition.
    n_projection
        Length d of the B-projection.
    valences
        Valence electrons per element.
    """
    exploration, convergence = campaign.exploration, campaign.convergence
    weight = neighbours[0] + 2.0 * neighbours[1]
    middle = min(0.5 * (n_labels[0] + n_labels[1]), float(campaign.budget.labels))
    batch = campaign.selection.labels_per_iteration + campaign.selection.audit_per_iteration
    growing = math.ceil(LATE_ROUNDS * max(0.0, middle - campaign.seeds.n) / max(batch, 1))
    loops = min(growing + convergence.clean_rounds, campaign.budget.iterations)
    atom_steps = checks = runs = confirmed = 0.0
    for condition, n_atoms in zip(exploration.conditions, run_atoms, strict=True):
        atom_steps += condition.replicas * condition.n_steps * n_atoms
        checks += condition.replicas * condition.n_steps / exploration.check_interval
        runs += condition.replicas
        confirmed += (
            campaign.confirmation.replicas
            * condition.n_steps
            * campaign.confirmation.steps_factor
            * n_atoms
            * campaign.confirmation.size_factor
        )
    steps_total = atom_steps * loops + confirmed
    grade_us = GRADE_US_PER_COLUMN_SQUARED * n_projection**2 / exploration.check_interval
    sets = [campaign.seeds.n + batch * k for k in range(loops)]
    fits = sum(
        training_seconds(
            campaign,
            min(n, middle) * atoms_per_label,
            weight,
            stage="cold" if batch > campaign.training.warm_growth * max(n, 1) else "warm",
        )
        for n in sets
    )
    fits += training_seconds(campaign, middle * atoms_per_label, weight, stage="final")
    one_label = label_seconds(campaign, atoms_per_label, valences)
    md = steps_total * weight * MD_US_PER_NEIGHBOUR * 1e-6
    audits = campaign.selection.audit_per_iteration * (loops + 1)
    stages = (
        Stage(
            "label",
            (middle + audits) * one_label,
            f"{one_label:.3g} CPU s a label, within a factor of 3",
        ),
        Stage("train", fits, f"{loops} fits in the loop, one long fit"),
        Stage("explore", md + steps_total * grade_us * 1e-6, "molecular dynamics and grades"),
    )
    workers = campaign.resources.workers
    wall = sum(stage.cpu_s for stage in stages) / workers + _PROCESS_START_SECONDS * (loops + 1)
    n_runs = runs * loops + campaign.confirmation.replicas * len(exploration.conditions)
    return Forecast(
        n_labels=(n_labels[0] + audits, n_labels[1] + audits),
        n_iterations=loops + 1,
        n_runs=int(n_runs),
        n_checks=int(checks * loops),
        stages=stages,
        wall_s=wall,
    )


__all__ = [
    "DFT_SECONDS",
    "GRADE_US_PER_COLUMN_SQUARED",
    "GRADIENT_US_PER_NEIGHBOUR",
    "MD_US_PER_NEIGHBOUR",
    "Forecast",
    "Stage",
    "build_forecast",
    "label_seconds",
    "training_seconds",
]
