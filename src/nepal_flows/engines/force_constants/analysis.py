r"""What force constants say of a crystal: frequencies, with temperature too, and anharmonicity.

At a temperature the crystal's dynamics is sampled with the whole expansion. The harmonic model
that fits its forces best has the frequencies of that temperature [1]_. The anharmonicity is the
share of the forces that the harmonic model at rest misses [2]_,

.. math:: \sigma^A = \sqrt{\langle (F - F^{(2)})^2 \rangle / \langle F^2 \rangle} ,

below 0.2 for nearly harmonic crystals, above 0.5 for strongly anharmonic ones.

References
----------
.. [1] O. Hellman et al., Phys. Rev. B 87, 104111 (2013).
.. [2] F. Knoop et al., Phys. Rev. Mater. 4, 083809 (2020).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.force_constants.crystal import CrystalFit
from nepal_flows.engines.force_constants.library import hiphive, phonopy
from nepal_flows.engines.force_constants.model import (
    ForceConstantBasis,
    ForceConstantFit,
    fit_force_constants,
)
from nepal_flows.engines.teacher_md import run_teacher_md
from nepal_flows.errors import EngineError
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Vibrations:
    """A crystal's vibrations at a temperature.

    Attributes
    ----------
    temperature_K
        Of the dynamics.
    frequencies_THz
        Of the harmonic model that fits it best, shape (n_wave_vectors, n_branches), rising;
        imaginary ones are negative.
    anharmonicity
        Share of the forces that the harmonic model at rest misses.
    force_constants
        Of the harmonic model, in the supercell, shape (n_atoms, n_atoms, 3, 3), eV/Å².
    n_frames
        Frames of the dynamics.
    """

    temperature_K: float
    frequencies_THz: FloatArray
    anharmonicity: float
    force_constants: FloatArray
    n_frames: int


def phonon_frequencies(
    fit_parameters: FloatArray,
    basis: ForceConstantBasis,
    wave_vectors: Sequence[Sequence[float]],
    *,
    repeats: Sequence[int] | IntArray,
) -> FloatArray:
    """Return frequencies of the second order, shape (n_wave_vectors, n_branches), THz, rising.

    Parameters
    ----------
    fit_parameters
        Parameters of the expansion, shape (n_parameters,).
    basis
        Its terms.
    wave_vectors
        In reciprocal vectors of the primitive cell.
    repeats
        Supercell in which the force constants are written out, of at least twice the cutoff:
        three repeats of the primitive cell or an integer matrix.
    """
    library = phonopy()
    primitive = basis.space.primitive_structure
    calculation = library.Phonopy(
        library.PhonopyAtoms(
            numbers=primitive.numbers,
            cell=primitive.cell.array,
            scaled_positions=primitive.get_scaled_positions(),
        ),
        supercell_matrix=np.diag(repeats) if np.ndim(repeats) == 1 else np.asarray(repeats),
        primitive_matrix=np.eye(3),
    )
    potential = hiphive().ForceConstantPotential(basis.space, fit_parameters)
    constants = potential.get_force_constants(_as_ase(calculation.supercell))
    calculation.force_constants = constants.get_fc_array(order=2)
    calculation.run_qpoints(np.array(wave_vectors, dtype=np.float64))
    return np.sort(np.array(calculation.qpoints.frequencies), axis=1)


def special_points(basis: ForceConstantBasis) -> dict[str, tuple[float, ...]]:
    """Return the special points of the primitive cell, in its reciprocal vectors, by name."""
    path = basis.space.primitive_structure.cell.bandpath(npoints=0)
    return {
        name: tuple(float(x) for x in point) for name, point in sorted(path.special_points.items())
    }


def phonon_supercell(basis: ForceConstantBasis) -> tuple[int, ...]:
    """Return repeats of the primitive cell that hold the second order without images meeting."""
    cell = basis.space.primitive_structure.cell.array
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    reach = 2.0 * basis.cutoffs_A[0] + 0.1
    return tuple(int(np.ceil(reach / height)) for height in heights)


def sample(
    fit: ForceConstantFit,
    temperature_K: float,
    *,
    n_frames: int,
    seed: int,
    interval_steps: int = 50,
    time_step_fs: float = 2.0,
) -> list[LabelledStructure]:
    """Return frames of the expansion's own dynamics at a temperature, with its forces.

    Raises
    ------
    EngineError
        If atoms leave their sites: the expansion does not hold there.
    """
    constants = fit.basis.force_constants(fit.parameters)
    try:
        return run_teacher_md(
            fit.basis.supercell,
            hiphive().ForceConstantCalculator(constants),
            temperature_K=temperature_K,
            n_frames=n_frames,
            interval_steps=interval_steps,
            seed=seed,
            pressure_GPa=None,
            time_step_fs=time_step_fs,
        )
    except EngineError as error:
        highest = len(fit.basis.cutoffs_A) + 1
        raise EngineError(
            f"Force constants to order {highest} do not hold the crystal together at "
            f"{temperature_K:g} K ({error}) An odd highest order has no lower bound: add an even "
            "one, add frames at this temperature, or stay below it."
        ) from error


def anharmonicity(fit: ForceConstantFit | CrystalFit, frames: Sequence[LabelledStructure]) -> float:
    """Return the share of the frames' forces that the second order of a fit misses."""
    missed = total = 0.0
    harmonic: dict[int, ForceConstantFit] = {}
    for frame in frames:
        own = fit.at(frame.structure) if isinstance(fit, CrystalFit) else fit
        second = harmonic.setdefault(id(own), own.truncated(2))
        difference = frame.forces - second.forces(frame.structure)
        missed += float(np.sum(difference**2))
        total += float(np.sum(frame.forces**2))
    return float(np.sqrt(missed / total))


def vibrations(
    fit: ForceConstantFit,
    primitive: Structure,
    temperature_K: float,
    wave_vectors: Sequence[Sequence[float]],
    *,
    repeats: Sequence[int] | IntArray,
    frames: Sequence[LabelledStructure] | None = None,
    n_frames: int = 40,
    seed: int = 0,
) -> Vibrations:
    """Return a crystal's vibrations at a temperature; see the module.

    Parameters
    ----------
    fit
        The expansion.
    primitive
        The ideal crystal.
    temperature_K
        The temperature.
    wave_vectors, repeats
        As for :func:`phonon_frequencies`.
    frames
        Of dynamics at that temperature by any model, with their forces; None samples the
        expansion's own.
    n_frames, seed
        Of the expansion's own dynamics.
    """
    if frames is None:
        frames = sample(fit, temperature_K, n_frames=n_frames, seed=seed)
    harmonic = ForceConstantBasis(primitive, fit.basis.supercell, fit.basis.cutoffs_A[:1])
    effective = fit_force_constants(harmonic, frames)
    return Vibrations(
        temperature_K,
        phonon_frequencies(effective.parameters, harmonic, wave_vectors, repeats=repeats),
        anharmonicity(fit, frames),
        harmonic.force_constants(effective.parameters).get_fc_array(order=2),
        len(frames),
    )


def _as_ase(atoms: Any) -> Any:
    return Atoms(atoms.symbols, cell=atoms.cell, scaled_positions=atoms.scaled_positions, pbc=True)


__all__ = [
    "Vibrations",
    "anharmonicity",
    "phonon_frequencies",
    "phonon_supercell",
    "sample",
    "special_points",
    "vibrations",
]
