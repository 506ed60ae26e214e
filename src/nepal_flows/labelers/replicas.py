"""A cell against its supercell: whether labels of cells of two sizes may stand in one data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.lattices import supercell
from nepal_flows.core.structure import Structure
from nepal_flows.engines.pool import WorkerPool
from nepal_flows.errors import LabelError
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.label import label_structures
from nepal_flows.labelers.protocol import Labeler

LARGEST_REPLICA = 64
"""Most atoms of a supercell that a cell is compared with, if it can be helped."""


@dataclass(frozen=True)
class ReplicaDifference:
    """How far a cell and its supercell disagree.

    Attributes
    ----------
    n_atoms
        Atoms of both.
    energy
        Difference of energies, eV per atom.
    force
        Largest difference of a force component, eV/Å.
    wall_s, cpu_s
        What the two labels took.
    """

    n_atoms: tuple[int, int]
    energy: float
    force: float
    wall_s: float
    cpu_s: float


def replica_repeats(structure: Structure, rule: KPointRule | None) -> tuple[int, int, int]:
    """Return the repeats of the supercell that a cell is compared with.

    Where k-points fold the repeats divide the grid. Where they follow from a spacing, repeats are
    chosen whose grids do not happen to fold, if there are any: those would agree however coarse.

    Parameters
    ----------
    structure
        The cell.
    rule
        Of the k-points; None where there are none.
    """
    if rule is None:
        choices = [(2, 2, 2)]
    elif rule.mode == "folded":
        grid = rule.mesh(structure).grid
        a, b, c = (next((d for d in (2, 3, 5, 7) if n % d == 0), 1) for n in grid)
        choices = [(a, b, c), (a, 1, 1)]
    else:
        choices = [(2, 2, 2), (3, 2, 2), (3, 1, 1), (2, 1, 1)]
        choices.sort(key=lambda repeats: _folds(structure, repeats, rule))
    fitting = (r for r in choices if math.prod(r) * structure.n_atoms <= LARGEST_REPLICA)
    return next(fitting, choices[-1])


def _folds(structure: Structure, repeats: tuple[int, int, int], rule: KPointRule) -> bool:
    grid = np.array(rule.mesh(structure).grid)
    larger = np.array(rule.mesh(supercell(structure, np.array(repeats))).grid)
    return bool((larger * np.array(repeats) == grid).all())


def replica_difference(
    labeler: Labeler,
    structure: Structure,
    repeats: Sequence[int],
    *,
    pool: WorkerPool,
    time_limit_s: float | None = None,
    scratch: str | Path | None = None,
) -> ReplicaDifference:
    """Return how far the labels of a cell and of its supercell disagree.

    Parameters
    ----------
    labeler
        The labeler.
    structure
        A rattled cell: without forces half of the test would be empty.
    repeats
        How often the supercell repeats it.
    pool
        Processes to label in.
    time_limit_s
        Time that one label may take, s.
    scratch
        Directory to run in.

    Raises
    ------
    LabelError
        If one of the two labels fails.
    """
    larger = supercell(structure, np.array(repeats))
    outcomes = label_structures(
        labeler, [structure, larger], pool=pool, time_limit_s=time_limit_s, scratch=scratch
    )
    labels = []
    for outcome in outcomes:
        if outcome.label is None:
            raise LabelError(f"A label of the replica check failed: {outcome.reason}")
        labels.append(outcome.label)
    small, large = labels
    n_cells = larger.n_atoms // structure.n_atoms
    return ReplicaDifference(
        n_atoms=(structure.n_atoms, larger.n_atoms),
        energy=abs(large.energy / larger.n_atoms - small.energy / structure.n_atoms),
        force=float(np.abs(large.forces - np.tile(small.forces, (n_cells, 1))).max()),
        wall_s=sum(outcome.cost.wall_s for outcome in outcomes),
        cpu_s=sum(outcome.cost.cpu_s for outcome in outcomes),
    )


__all__ = ["ReplicaDifference", "replica_difference", "replica_repeats"]
