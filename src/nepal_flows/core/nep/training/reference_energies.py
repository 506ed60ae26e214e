"""Reference energies of the elements, subtracted before training.

NEP4 has one output bias for all elements, and total energies of -1000 eV/atom would cost single
precision its digits. Both are cured by taking off one energy per atom of every element.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from nepal_flows.core.elements import SYMBOLS, atomic_number
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray

_SMALLEST_SPREAD = 1e-6  # of a composition, in fractions of atoms; below it is rounding


def fit_reference_energies(
    data: Sequence[LabelledStructure], elements: Sequence[str]
) -> dict[str, float]:
    """Return the energy per atom of every element that fits the energies best.

    Parameters
    ----------
    data
        Labelled structures, at least one.
    elements
        Chemical symbols; all elements of the data must be among them.

    Returns
    -------
    dict
        Symbol to energy, eV. Where compositions leave a direction undetermined (all structures
        of one stoichiometry, an element that does not occur), the energies stay as close to
        their common mean as they can.

    Raises
    ------
    TrainingError
        If there is no data, or an element of it is not named.

    Notes
    -----
    Weighted least squares on energies per atom, minimum-norm in the deviation from the mean.
    """
    if not data:
        raise TrainingError("There is no structure to fit reference energies to.")
    fractions = _compositions([frame.structure for frame in data], elements)
    n_atoms = fractions.sum(axis=1)
    fractions = fractions / n_atoms[:, None]
    energies = np.array([frame.energy for frame in data]) / n_atoms
    weights = np.array([frame.weight for frame in data])
    if weights.sum() <= 0.0:
        weights = np.ones_like(weights)
    mean_energy = np.average(energies, weights=weights)
    mean_fractions = np.average(fractions, axis=0, weights=weights)
    scale = np.sqrt(weights / weights.sum())[:, None]
    design = (fractions - mean_fractions) * scale
    u, singular, vt = np.linalg.svd(design, full_matrices=False)
    kept = singular > _SMALLEST_SPREAD
    target = (energies - mean_energy) * scale[:, 0]
    deviations = vt[kept].T @ ((u[:, kept].T @ target) / singular[kept])
    constant = mean_energy - mean_fractions @ deviations
    return {
        symbol: float(constant + deviation)
        for symbol, deviation in zip(elements, deviations, strict=True)
    }


def reference_energy(structure: Structure, energies: Mapping[str, float]) -> float:
    """Return the sum of the reference energies of a structure's atoms, eV.

    Raises
    ------
    TrainingError
        If an element has no reference energy.
    """
    numbers, counts = np.unique(structure.numbers, return_counts=True)
    total = 0.0
    for number, count in zip(numbers, counts, strict=True):
        symbol = SYMBOLS[int(number)]
        if symbol not in energies:
            raise TrainingError(
                f"There is no reference energy of {symbol}; known are {', '.join(energies)}."
            )
        total += float(count) * energies[symbol]
    return total


def _compositions(structures: Sequence[Structure], elements: Sequence[str]) -> FloatArray:
    """Return the number of atoms of every element, shape (n_structures, n_elements)."""
    numbers = [atomic_number(symbol) for symbol in elements]
    counts = np.array(
        [[np.count_nonzero(s.numbers == number) for number in numbers] for s in structures],
        dtype=np.float64,
    )
    for structure, row in zip(structures, counts, strict=True):
        if row.sum() != structure.n_atoms:
            strangers = sorted({SYMBOLS[int(n)] for n in structure.numbers} - set(elements))
            raise TrainingError(
                f"The data hold {', '.join(strangers)}, but the model is for "
                f"{', '.join(elements)}. Add the element to `type`, or drop the structures."
            )
    return counts


__all__ = ["fit_reference_energies", "reference_energy"]
