"""One s orbital per atom: the smallest solid with a Fermi surface, its free energy and gradients.

H_ij(k) = sum_R t(|r_j + R - r_i|) exp(i k R) with one electron per atom, Fermi-Dirac occupations
and a pair repulsion. Forces and stress are exact derivatives of the free energy (Hellmann-Feynman),
so that a finite difference tells it from the energies with other shares of the entropy. It needs
numpy alone and starts at once.
"""

from dataclasses import dataclass

import numpy as np

HOPPING, DECAY, DISTANCE, REPULSION, STIFFNESS, REACH = 0.5, 2.0, 2.55, 0.06, 9.0, 6.0


@dataclass(frozen=True)
class Answer:
    """Energies in eV, forces in eV/Å, stress in eV/Å^3 with ASE's sign (positive in tension)."""

    free_energy: float
    entropy_term: float
    forces: np.ndarray
    stress: np.ndarray
    fermi_level: float


def solve(
    positions: np.ndarray, cell: np.ndarray, points: np.ndarray, weights: np.ndarray, width: float
) -> Answer:
    """Return the free energy of a crystal and its gradients.

    Parameters
    ----------
    positions, cell
        Positions, shape (n_atoms, 3), and cell vectors as rows, Å.
    points, weights
        k-points in units of the reciprocal vectors, shape (n, 3), and their weights.
    width
        Boltzmann constant times the electronic temperature, eV.
    """
    n = len(positions)
    first, second, vectors, shifts = _pairs(positions, cell)
    lengths = np.linalg.norm(vectors, axis=1)
    cut = np.cos(0.5 * np.pi * lengths / REACH) ** 2
    slope = -0.5 * np.pi / REACH * np.sin(np.pi * lengths / REACH)
    t = -HOPPING * np.exp(-DECAY * (lengths / DISTANCE - 1.0))
    pair = REPULSION * np.exp(-STIFFNESS * (lengths / DISTANCE - 1.0))
    t_slope = -DECAY / DISTANCE * t * cut + t * slope
    pair_slope = -STIFFNESS / DISTANCE * pair * cut + pair * slope
    t, pair = t * cut, pair * cut
    phases = np.exp(2j * np.pi * points @ shifts.T)
    matrices = np.zeros((len(points), n, n), dtype=complex)
    for matrix, phase in zip(matrices, phases, strict=True):
        np.add.at(matrix, (first, second), t * phase)
    levels, states = np.linalg.eigh(matrices)
    fermi = _fermi_level(levels, weights, width, n)
    filled = _occupation((levels - fermi) / width)
    empty = 1.0 - filled
    mixing = filled * np.log(np.maximum(filled, 1e-300)) + empty * np.log(np.maximum(empty, 1e-300))
    entropy_term = 2.0 * width * float(weights @ mixing.sum(axis=1))
    band = 2.0 * float(weights @ (filled * levels).sum(axis=1))
    bonds = np.zeros(len(first))
    for weight, phase, vector, share in zip(weights, phases, states, filled, strict=True):
        density = (vector * share) @ vector.conj().T
        bonds += 2.0 * weight * np.real(density[second, first] * phase)
    along = ((bonds * t_slope + 0.5 * pair_slope) / lengths)[:, None] * vectors
    forces = np.zeros((n, 3))
    np.add.at(forces, first, along)
    np.subtract.at(forces, second, along)
    return Answer(
        free_energy=band + entropy_term + 0.5 * float(pair.sum()),
        entropy_term=entropy_term,
        forces=forces,
        stress=vectors.T @ along / abs(np.linalg.det(cell)),
        fermi_level=fermi,
    )


def _pairs(positions, cell):
    """Return both atoms, the vector and the cell shift of every pair within reach."""
    reach = np.ceil(REACH * np.linalg.norm(np.linalg.inv(cell), axis=0) + 1.0).astype(int)
    shifts = np.indices(2 * reach + 1).reshape(3, -1).T - reach
    vectors = (positions[None, :, None] - positions[:, None, None]) + (shifts @ cell)[None, None]
    lengths = np.linalg.norm(vectors, axis=-1)
    first, second, which = np.nonzero((lengths > 1e-6) & (lengths < REACH))
    return first, second, vectors[first, second, which], shifts[which]


def _occupation(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 - np.tanh(0.5 * x))


def _fermi_level(levels, weights, width: float, n_electrons: int) -> float:
    low, high = levels.min() - 50.0 * width, levels.max() + 50.0 * width
    for _ in range(200):
        middle = 0.5 * (low + high)
        n = 2.0 * float(weights @ _occupation((levels - middle) / width).sum(axis=1))
        low, high = (middle, high) if n < n_electrons else (low, middle)
    return float(middle)
