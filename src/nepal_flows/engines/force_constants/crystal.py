"""One expansion in several supercells of a crystal: its parameters belong to no cell.

What is fitted in one supercell holds in a larger one, so frames of all of them are one set.
"""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from nepal_flows.core.bayes.linear import LinearPosterior, NormalEquations, fit_linear
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.force_constants.model import (
    ForceConstantBasis,
    ForceConstantFit,
    PackedStructure,
    packed,
    unpacked,
)
from nepal_flows.errors import InputError, ModelError, TrainingError
from nepal_flows.io.frames import pack_arrays, unpack_arrays
from nepal_flows.typing import FloatArray

CELL_TOLERANCE = 1e-4
"""Difference of two cells that are the same, Å."""


@dataclass(frozen=True)
class Crystal:
    """A crystal, its expansion, and the supercells it is looked at in.

    Attributes
    ----------
    unit
        The ideal crystal; its primitive cell is found by symmetry.
    cutoffs_A
        For the second order and those that follow.
    supercells
        Ideal supercells.
    """

    unit: PackedStructure
    cutoffs_A: tuple[float, ...]
    supercells: tuple[PackedStructure, ...] = field(default=())

    @classmethod
    def of(
        cls, unit: Structure, cutoffs_A: Sequence[float], supercells: Iterable[Structure] = ()
    ) -> "Crystal":
        """Return the crystal of these structures."""
        cells = dict.fromkeys(packed(cell) for cell in supercells)
        return cls(packed(unit), tuple(float(cutoff) for cutoff in cutoffs_A), tuple(cells))

    def basis_of(self, structure: Structure) -> ForceConstantBasis:
        """Return the expansion in the supercell that a structure is displaced from.

        Raises
        ------
        InputError
            If it is none of the supercells.
        """
        for content in self.supercells:
            ideal = unpacked(content)
            if np.array_equal(ideal.numbers, structure.numbers) and np.allclose(
                ideal.cell, structure.cell, atol=CELL_TOLERANCE
            ):
                return _basis(self.unit, content, self.cutoffs_A)
        sizes = sorted({len(numbers) // 8 for numbers, _, _ in self.supercells})
        raise InputError(
            f"A structure of {structure.n_atoms} atoms is none of the ideal supercells that force "
            f"constants are counted from ({', '.join(map(str, sizes))} atoms): cell and order of "
            "atoms must be those of a supercell of the campaign, with atoms displaced."
        )


@lru_cache(maxsize=8)
def _basis(
    unit: PackedStructure, supercell: PackedStructure, cutoffs_A: tuple[float, ...]
) -> ForceConstantBasis:
    return ForceConstantBasis(unpacked(unit), unpacked(supercell), cutoffs_A)


@dataclass(frozen=True, eq=False)
class CrystalFit:
    """Force constants of a crystal with their errors.

    Attributes
    ----------
    crystal
        The terms, in every supercell.
    posterior
        Parameters and their covariance.
    energy_per_atom
        Of the ideal crystal, eV: what energies of labels are counted from.
    equations
        Of the frames fitted to, which more frames can be added to.
    calibration
        Error bars over those of the training set: what labels showed that were not yet known.
    """

    crystal: Crystal
    posterior: LinearPosterior
    energy_per_atom: float
    equations: NormalEquations
    calibration: float = 1.0
    _fits: dict[int, ForceConstantFit] = field(default_factory=dict, init=False)

    def at(self, structure: Structure) -> ForceConstantFit:
        """Return the fit in the supercell that a structure is displaced from."""
        basis = self.crystal.basis_of(structure)
        found = self._fits.get(id(basis))
        if found is None:
            found = self._fits[id(basis)] = ForceConstantFit(
                basis, self.posterior, self.calibration
            )
        return found

    def forces(self, structure: Structure) -> FloatArray:
        """Return forces, shape (n_atoms, 3), eV/Å."""
        return self.at(structure).forces(structure)

    def energy(self, structure: Structure) -> float:
        """Return the energy as labels count it, eV."""
        own = self.at(structure).energy(structure)
        return own + structure.n_atoms * self.energy_per_atom


def fit_crystal(
    crystal: Crystal,
    frames: Sequence[LabelledStructure],
    *,
    before: CrystalFit | None = None,
    n_known: int = 0,
    calibration: float = 1.0,
) -> CrystalFit:
    """Return the force constants that fit the forces of displaced supercells of any size.

    Parameters
    ----------
    crystal
        The terms.
    frames
        All labelled frames, at least one.
    before
        A fit to the first `n_known` of these frames, to which the others are added; the result is
        bit by bit that of a fit to all.
    n_known
        Frames that it knows.
    calibration
        Factor of the error bars.

    Raises
    ------
    InputError
        If a frame is none of the crystal's supercells, displaced.
    TrainingError
        If there is no frame.
    """
    if not frames:
        raise TrainingError("There is no frame to fit force constants to.")
    first = crystal.basis_of(frames[0].structure)
    if before is None:
        equations, n_known = NormalEquations.empty(first.n_parameters), 0
    else:
        equations = copy.deepcopy(before.equations)
    for frame in frames[n_known:]:
        rows = crystal.basis_of(frame.structure).rows(frame.structure)
        equations.add(rows, np.asarray(frame.forces).ravel())
    posterior = fit_linear(equations, first.groups)
    relative = CrystalFit(crystal, posterior, 0.0, equations)
    rest = [frame.energy - relative.energy(frame.structure) for frame in frames]
    n_atoms = [frame.n_atoms for frame in frames]
    energy_per_atom = float(np.sum(rest) / np.sum(n_atoms))
    return CrystalFit(crystal, posterior, energy_per_atom, equations, calibration)


@dataclass(frozen=True)
class SiteForce:
    """What an expansion cannot hold: forces on atoms that stand on their sites.

    Attributes
    ----------
    largest
        Largest mean force that the fit leaves on a site of the unit cell, eV/Å.
    standard_error
        Of that mean, eV/Å.
    """

    largest: float
    standard_error: float

    @property
    def is_there(self) -> bool:
        """Whether it is neither chance nor too small to matter (5 meV/Å)."""
        return self.largest > max(4.0 * self.standard_error, 5e-3)


def site_force(fit: CrystalFit, frames: Sequence[LabelledStructure]) -> SiteForce:
    """Return the mean force that the fit leaves on the sites of the unit cell.

    By symmetry there is none in silicon; where sites are free, it is there until they are relaxed.
    """
    unit = unpacked(fit.crystal.unit)
    inverse = np.linalg.inv(unit.cell)
    total, count, square = np.zeros((unit.n_atoms, 3)), np.zeros(unit.n_atoms), 0.0
    for frame in frames:
        ideal = fit.crystal.basis_of(frame.structure).supercell
        apart = (ideal.positions[:, None] - unit.positions[None]) @ inverse
        sites = np.linalg.norm(apart - np.round(apart), axis=2).argmin(axis=1)
        left = frame.forces - fit.forces(frame.structure)
        np.add.at(total, sites, left)
        np.add.at(count, sites, 1.0)
        square += float(np.sum(left**2))
    spread = np.sqrt(square / count.sum())
    return SiteForce(
        largest=float(np.linalg.norm(total / count[:, None], axis=1).max()),
        standard_error=float(spread / np.sqrt(count.min())),
    )


def pack_fit(fit: CrystalFit) -> bytes:
    """Return a fit as bytes; equal fits give equal bytes. Supercells are not kept."""
    posterior, equations = fit.posterior, fit.equations
    unit = unpacked(fit.crystal.unit)
    upper = np.triu_indices(len(posterior.parameters))
    scalars = [
        posterior.noise,
        posterior.rmse,
        posterior.training_deviation,
        fit.energy_per_atom,
        equations.square,
        fit.calibration,
    ]
    return pack_arrays(
        {
            "numbers": unit.numbers,
            "positions": unit.positions,
            "cell": unit.cell,
            "cutoffs_A": np.array(fit.crystal.cutoffs_A),
            "parameters": posterior.parameters,
            "root": posterior.root[upper],
            "product": equations.product[upper],
            "projection": equations.projection,
            "determined": posterior.determined,
            "scalars": np.array(scalars),
            "counts": np.array([posterior.n_rows, posterior.n_iterations]),
        }
    )


def unpack_fit(content: bytes, supercells: Iterable[Structure] = ()) -> CrystalFit:
    """Return the fit of :func:`pack_fit` in supercells of its crystal.

    Raises
    ------
    ModelError
        If the bytes are not those of force constants.
    """
    try:
        found = unpack_arrays(content)
        noise, rmse, deviation, energy, square, calibration = found["scalars"].tolist()
        n_rows, n_iterations = found["counts"].tolist()
        unit = Structure(found["numbers"], found["positions"], found["cell"])
        crystal = Crystal.of(unit, found["cutoffs_A"].tolist(), supercells)
        size = len(found["parameters"])
        product = _from_upper(found["product"], size)
        posterior = LinearPosterior(
            parameters=found["parameters"],
            root=_from_upper(found["root"], size),
            noise=noise,
            rmse=rmse,
            training_deviation=deviation,
            n_rows=n_rows,
            determined=found["determined"],
            n_iterations=n_iterations,
        )
        equations = NormalEquations(
            product + np.triu(product, 1).T, found["projection"], square, n_rows
        )
    except (InputError, KeyError, ValueError) as error:
        raise ModelError(
            f"These {len(content)} bytes are no force constants ({error}). Fit them again."
        ) from error
    return CrystalFit(crystal, posterior, energy, equations, calibration)


def _from_upper(values: FloatArray, size: int) -> FloatArray:
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = values
    return matrix


__all__ = [
    "CELL_TOLERANCE",
    "Crystal",
    "CrystalFit",
    "SiteForce",
    "fit_crystal",
    "pack_fit",
    "site_force",
    "unpack_fit",
]
