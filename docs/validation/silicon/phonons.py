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

MODES = {
    "Γ, optical": ("Γ", slice(3, 6)),
    "X, TA": ("X", slice(0, 2)),
    "X, LA and LO": ("X", slice(2, 4)),
    "X, TO": ("X", slice(4, 6)),
    "L, TA": ("L", slice(0, 2)),
    "L, LA": ("L", slice(2, 3)),
    "L, LO": ("L", slice(3, 4)),
    "L, TO": ("L", slice(4, 6)),
}
"""Modes of the diamond structure: their point, and the branches that symmetry makes equal."""

PATH = (("L", (0.5, 0.5, 0.5)), ("Γ", (0.0, 0.0, 0.0)), ("X", (0.5, 0.0, 0.5)))
"""What a dispersion is drawn along."""

N_PER_SEGMENT = 41


@dataclass(frozen=True, eq=False)
class Phonons:
    """Frequencies of a crystal, THz; imaginary ones are negative.

    Attributes
    ----------
    at_points
        At the equivalent wave vectors of each name, shape (n_wave_vectors, n_branches), rising.
    path
        Frequencies along the path, one array (n_points, n_branches) a segment.
    """

    at_points: dict[str, FloatArray]
    path: tuple[FloatArray, ...]

    @property
    def modes(self) -> dict[str, float]:
        """Frequency of every mode, the mean over what symmetry makes equal, THz."""
        return {name: float(self._values(name).mean()) for name in MODES}

    @property
    def spreads(self) -> dict[str, float]:
        """Largest deviation from that mean, THz: what the labels' k-points break."""
        values = {name: self._values(name) for name in MODES}
        return {name: float(np.abs(v - v.mean()).max()) for name, v in values.items()}

    def _values(self, mode: str) -> FloatArray:
        point, branches = MODES[mode]
        return self.at_points[point][:, branches]


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
    at_points = {name: _frequencies(calculation, points) for name, points in POINTS.items()}
    ends = [np.array(point) for _, point in PATH]
    shares = np.linspace(0.0, 1.0, N_PER_SEGMENT)[:, None]
    path = tuple(
        _frequencies(calculation, start + shares * (end - start)) for start, end in pairwise(ends)
    )
    return Phonons(at_points, path)


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


__all__ = ["MODES", "N_PER_SEGMENT", "PATH", "POINTS", "Phonons", "phonons"]
