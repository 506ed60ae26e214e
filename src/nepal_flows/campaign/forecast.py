"""What a campaign will need and cost, from rules and constants that were measured."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nepal_flows.campaign.labels import (
    AseLabels,
    DftLabels,
    EspressoLabels,
    KPoints,
    Labels,
    VaspLabels,
)
from nepal_flows.campaign.model import Campaign
from nepal_flows.core.structure import Structure
from nepal_flows.units import RYDBERG_TO_EV

MD_US_PER_NEIGHBOUR = 0.04
"""One atom and step of native molecular dynamics, per neighbour (radial + 2 angular), µs."""

GRADE_US_PER_COLUMN_SQUARED = 0.3e-3
"""One graded atom, over d squared, µs."""

GRADIENT_US_PER_NEIGHBOUR = 0.03
"""One atom of one exact training gradient, per neighbour (radial + 2 angular), µs."""

ESPRESSO_SECONDS = 0.042
"""A label of rattled silicon at 30 Ry, over its k-points and the square of its atoms, CPU s."""

VASP_SECONDS = ESPRESSO_SECONDS
"""The same of VASP, which has not run here: taken to be that of pw.x at an equal cutoff. It weighs
until the campaign's own labels are there (`LabelCosts`); a factor of ten is corrected by three."""

CP2K_SECONDS = (5.0, 0.1)
"""16 rattled silicon atoms at 300 Ry, over their number: at once, and per k-point, CPU s."""

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


def reduced_kpoints(
    kpoints: KPoints, *, n_atoms: float, volume: float, primitive_n_atoms: int
) -> float:
    """Return about how many k-points a label has when one of each pair k and -k is left.

    Parameters
    ----------
    kpoints
        The rule.
    n_atoms, volume
        Of what is labelled; Å^3.
    primitive_n_atoms
        Atoms of the primitive cell (``folded``).
    """
    if kpoints.mode == "folded":
        points = math.prod(kpoints.grid) * primitive_n_atoms / n_atoms
    else:
        points = (2.0 * math.pi / kpoints.spacing_per_A) ** 3 / volume
    return 0.5 * (max(points, 1.0) + 1.0)


def label_seconds(
    labels: Labels,
    *,
    n_atoms: float,
    n_kpoints: float,
    valences: Mapping[str, float],
) -> float:
    """Return the expected CPU time of one label, s; a guess within a factor of three.

    Parameters
    ----------
    labels
        The labels section.
    n_atoms, n_kpoints
        Atoms of the label and its k-points, as `reduced_kpoints` counts them.
    valences
        Valence electrons per element.
    """
    if isinstance(labels, AseLabels):
        cheap = labels.calculator.lower() in {"emt", "lj", "morse", "tersoff"}
        return n_atoms * (_EMT_SECONDS_PER_ATOM if cheap else _UNKNOWN_SECONDS_PER_ATOM)
    mean = sum(valences.values()) / max(len(valences), 1)
    scale = n_atoms * math.pow(mean / _ELECTRONS_OF_SILICON, 1.5)
    if isinstance(labels, EspressoLabels):
        scale *= n_atoms * n_kpoints * math.pow(labels.ecutwfc_Ry / 30.0, 1.5)
        return ESPRESSO_SECONDS * scale * spin_factor(labels)
    if isinstance(labels, VaspLabels):
        cutoff = (labels.encut_eV or 520.0) / RYDBERG_TO_EV
        scale *= n_atoms * n_kpoints * math.pow(cutoff / 30.0, 1.5)
        return VASP_SECONDS * scale * spin_factor(labels)
    per_atom = CP2K_SECONDS[0] + CP2K_SECONDS[1] * n_kpoints
    return (
        per_atom
        * scale
        * max(1.0, math.sqrt(n_atoms / 16.0))
        * labels.cutoff_Ry
        / 300.0
        * spin_factor(labels)
    )


def spin_factor(labels: DftLabels) -> float:
    """Return how much longer a label takes for its spin: two kinds of orbitals."""
    return 1.0 if labels.magnetic_moments_uB is None else 2.0


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
    labelled: Sequence[Structure],
    primitive_n_atoms: int,
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
    labelled
        Structures like those that will be labelled.
    primitive_n_atoms
        Atoms of the primitive cell.
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
    atoms_per_label = sum(s.n_atoms for s in labelled) / len(labelled)
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
    members = 0.0
    if "committee" in campaign.selection.criteria:
        members = campaign.selection.committee.n_models - 1.0
    one_label = mean_label_seconds(campaign.labels, labelled, primitive_n_atoms, valences)
    # A check evaluates every member of a committee, the model itself included.
    calls = 1.0 + (members + 1.0 if members else 0.0) / exploration.check_interval
    md = steps_total * calls * weight * MD_US_PER_NEIGHBOUR * 1e-6
    audits = campaign.selection.audit_per_iteration * (loops + 1)
    stages = (
        Stage(
            "label",
            (middle + audits) * one_label,
            f"{one_label:.3g} CPU s a label, within a factor of 3",
        ),
        _on_gpu("train", campaign.training.trainer)
        or Stage("train", fits, f"{loops} fits in the loop, one long fit"),
        *_committee_stage(members, loops + 1, fits),
        _on_gpu("explore", exploration.engine)
        or Stage("explore", md + steps_total * grade_us * 1e-6, "molecular dynamics and grades"),
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


def _committee_stage(members: float, n_fits: int, fits: float) -> tuple[Stage, ...]:
    """Return the training of a committee's further members; nothing without them."""
    if not members:
        return ()
    words = f"{members:.0f} further members of the committee, {n_fits} fits each"
    return (Stage("committee", members * fits, words),)


def _on_gpu(name: str, engine: str) -> Stage | None:
    """Return a stage without CPU time where GPUMD does it: its time is not forecast."""
    return None if engine == "native" else Stage(name, 0.0, f"`{engine}` on a GPU, not forecast")


def mean_label_seconds(
    labels: Labels,
    labelled: Sequence[Structure],
    primitive_n_atoms: int,
    valences: Mapping[str, float],
) -> float:
    """Return the expected CPU time of a label, averaged over structures, s."""
    total = 0.0
    for structure in labelled:
        points = 1.0
        if not isinstance(labels, AseLabels):
            points = reduced_kpoints(
                labels.kpoints,
                n_atoms=structure.n_atoms,
                volume=structure.volume,
                primitive_n_atoms=primitive_n_atoms,
            )
        total += label_seconds(
            labels, n_atoms=structure.n_atoms, n_kpoints=points, valences=valences
        )
    return total / len(labelled)


__all__ = [
    "CP2K_SECONDS",
    "ESPRESSO_SECONDS",
    "GRADE_US_PER_COLUMN_SQUARED",
    "GRADIENT_US_PER_NEIGHBOUR",
    "MD_US_PER_NEIGHBOUR",
    "VASP_SECONDS",
    "Forecast",
    "Stage",
    "build_forecast",
    "label_seconds",
    "mean_label_seconds",
    "reduced_kpoints",
    "training_seconds",
]
