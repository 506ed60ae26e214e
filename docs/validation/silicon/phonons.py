"""Phonons from finite displacements, by phonopy, in a multiple of the primitive cell.

Every atom of the primitive cell is displaced in every direction and both signs, without use of
the crystal's symmetry: symmetry would hide what the k-points of the labels break. The frequencies
at wave vectors that fold into the supercell (Gamma, X and L for 2 x 2 x 2) are exact; what lies
between them is interpolated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.errors import SettingsError
from nepal_flows.typing import FloatArray
from silicon.evaluation import Evaluator

DISPLACEMENT_A = 0.02
REPEATS = (2, 2, 2)

POINTS = {
    "Γ": ((0.0, 0.0, 0.0),),
    "X": ((0.0, 0.5, 0.5), (0.5, 0.0, 0.5), (0.5, 0.5, 0.0)),
    "L": ((0.5, 0.0, 0.0), (0.0, 0.5, 0.0), (0.0, 0.0, 0.5), (0.5, 0.5, 0.5)),
}
"""Wave vectors that symmetry makes equal, in reciprocal vectors of the primitive cell."""

PATH = (("L", (0.5, 0.5, 0.5)), ("Γ", (0.0, 0.0, 0.0)), ("X", (0.5, 0.0, 0.5)))
"""What a dispersion is drawn along."""

N_PER_SEGMENT = 41


@dataclass(frozen=True, eq=False)
class Phonons:
    """Frequencies of a crystal, THz; imaginary ones are negative.

    Attributes
    ----------
    at_points
        Mean over the equivalent wave vectors of each name, shape (n_branches,), rising.
    spread
        Largest deviation of one of them from their mean, by name, THz.
    path
        Frequencies along the path, one array (n_points, n_branches) a segment.
    """

    at_points: dict[str, FloatArray]
    spread: dict[str, float]
    path: tuple[FloatArray, ...]


def phonons(
    evaluate: Evaluator,
    crystal: Structure,
    *,
    repeats: Sequence[int] = REPEATS,
    displacement: float = DISPLACEMENT_A,
) -> Phonons:
    """Return the phonons of a crystal.

    Parameters
    ----------
    evaluate
        Who answers for forces.
    crystal
        Its primitive cell, whose forces vanish.
    repeats
        The supercell.
    displacement
        Size of the displacements, Å.

    Raises
    ------
    SettingsError
        If phonopy is not installed.
    """
    calculation = _calculation(crystal, repeats)
    calculation.generate_displacements(distance=displacement, is_plusminus=True, is_diagonal=False)
    cells = [_structure(atoms) for atoms in calculation.supercells_with_displacements]
    labels = evaluate("phonons", cells)
    # Forces that the crystal at rest shows on its supercell are no response to a displacement;
    # both signs of every displacement are there, so that they cancel.
    calculation.forces = np.array([label.forces for label in labels])
    calculation.produce_force_constants()
    calculation.symmetrize_force_constants()  # sum rule and index symmetry, not the space group
    at_points, spread = {}, {}
    for name, equivalent in POINTS.items():
        values = _frequencies(calculation, equivalent)
        at_points[name] = values.mean(axis=0)
        spread[name] = float(np.abs(values - at_points[name]).max())
    ends = [np.array(point) for _, point in PATH]
    shares = np.linspace(0.0, 1.0, N_PER_SEGMENT)[:, None]
    path = tuple(
        _frequencies(calculation, start + shares * (end - start)) for start, end in pairwise(ends)
    )
    return Phonons(at_points, spread, path)


def _calculation(crystal: Structure, repeats: Sequence[int]) -> Any:
    try:
        from phonopy import Phonopy  # noqa: PLC0415
        from phonopy.structure.atoms import PhonopyAtoms  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            "Phonons need phonopy, which is not installed: `pip install phonopy`."
        ) from error
    atoms = PhonopyAtoms(numbers=crystal.numbers, cell=crystal.cell, positions=crystal.positions)
    return Phonopy(
        atoms,
        supercell_matrix=np.diag(repeats),
        primitive_matrix=np.eye(3),
        is_symmetry=False,
    )


def _structure(atoms: Any) -> Structure:
    return Structure(np.array(atoms.numbers), np.array(atoms.positions), np.array(atoms.cell))


def _frequencies(calculation: Any, points: Any) -> FloatArray:
    """Return frequencies at wave vectors, shape (n_points, n_branches), THz, rising."""
    calculation.run_qpoints(np.array(points, dtype=np.float64))
    return np.sort(np.array(calculation.qpoints.frequencies), axis=1)


__all__ = ["N_PER_SEGMENT", "PATH", "POINTS", "Phonons", "phonons"]
