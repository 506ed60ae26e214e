"""Force constants of argon and silicon against the teachers, differences, and phonopy by itself."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.tersoff import Tersoff, TersoffParameters
from phonopy import Phonopy
from phonopy.structure.atoms import PhonopyAtoms

from nepal_flows.core.structure import Structure
from nepal_flows.engines.force_constants.analysis import (
    anharmonicity,
    phonon_frequencies,
    sample,
    vibrations,
)
from nepal_flows.engines.force_constants.model import ForceConstantBasis, fit_force_constants
from nepal_flows.errors import EngineError, InputError
from nepal_flows.io.structures import labelled_from_atoms, structure_from_atoms

LATTICE = 5.432
SILICON = TersoffParameters(
    m=3, gamma=1.0, lambda3=0.0, c=1.0039e5, d=16.217, h=-0.59825, n=0.78734, beta=1.1e-6,
    lambda2=1.7322, B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip
POINTS = [(0.0, 0.0, 0.0), (0.5, 0.0, 0.5), (0.5, 0.5, 0.5)]


ARGON = 5.31


def argon():
    """Nearest neighbours alone, whose expansion to the fourth order is bounded."""
    return LennardJones(sigma=3.405, epsilon=0.0104, rc=5.1, ro=4.4, smooth=True)


def tersoff():
    return Tersoff({("Si", "Si", "Si"): SILICON})


def supercell():
    return bulk("Ar", a=ARGON, cubic=True) * (2, 2, 2)


def displaced(amplitude, seed, *, ideal=None, calculator=None):
    atoms = supercell() if ideal is None else ideal
    shifts = np.random.default_rng(seed).normal(0.0, amplitude, (len(atoms), 3))
    atoms.positions += shifts
    atoms.calc = calculator or argon()
    atoms.get_forces()
    return labelled_from_atoms(atoms)


def basis_of(*cutoffs):
    primitive = structure_from_atoms(bulk("Ar", a=ARGON))
    return ForceConstantBasis(primitive, structure_from_atoms(supercell()), cutoffs)


@pytest.fixture(scope="module")
def training():
    return [displaced(0.05 + 0.05 * (k % 3), k) for k in range(6)]


@pytest.fixture(scope="module")
def fit(training):
    return fit_force_constants(basis_of(4.0, 4.0, 4.0), training)


def error_of(fit, frame):
    return np.sqrt(np.mean((fit.forces(frame.structure) - frame.forces) ** 2))


def test_unseen_forces_of_small_displacements_are_those_of_the_teacher():
    frames = [displaced(0.01 + 0.01 * (k % 3), k) for k in range(6)]
    frame = displaced(0.02, 91)
    error = error_of(fit_force_constants(basis_of(4.0, 4.0, 4.0), frames), frame)
    assert error < 2e-3 * np.sqrt(np.mean(np.square(frame.forces)))


def test_higher_orders_lower_the_error(fit, training):
    frame = displaced(0.1, 92)
    harmonic = fit_force_constants(basis_of(4.0), training)
    assert error_of(fit, frame) < 0.3 * error_of(harmonic, frame)


def test_error_bar_grows_with_the_error(fit):
    errors, bars = [], []
    for amplitude in (0.05, 0.1, 0.15):
        frame = displaced(amplitude, 93)
        errors.append(error_of(fit, frame))
        bars.append(np.sqrt(np.mean(fit.force_errors(frame.structure) ** 2) / 3.0))
    assert np.all(np.diff(bars) > 0.0)
    assert 1.0 / 3.0 < bars[1] / errors[1] < 3.0


def test_forces_are_minus_the_gradient_of_the_energy(fit):
    structure = displaced(0.05, 94).structure
    step = 1e-4

    def energy(shift):
        positions = structure.positions.copy()
        positions[5, 1] += shift
        positions[9, 1] -= shift  # a drift of the whole costs nothing
        return fit.energy(Structure(structure.numbers, positions, structure.cell))

    slope = -(energy(step) - energy(-step)) / (2.0 * step)
    forces = fit.forces(structure)
    assert forces[5, 1] - forces[9, 1] == pytest.approx(slope, abs=1e-6)


def test_frequencies_are_those_of_small_displacements():
    """Of silicon, against phonopy from the teacher's own forces in a supercell."""
    primitive = bulk("Si", a=LATTICE)
    ideal = bulk("Si", a=LATTICE, cubic=True) * (2, 2, 2)
    frames = [displaced(0.002, k, ideal=ideal.copy(), calculator=tersoff()) for k in range(3)]
    basis = ForceConstantBasis(structure_from_atoms(primitive), structure_from_atoms(ideal), (5.3,))
    small = fit_force_constants(basis, frames)
    found = phonon_frequencies(small.parameters, basis, POINTS, repeats=(4, 4, 4))
    calculation = Phonopy(
        PhonopyAtoms(
            numbers=primitive.numbers,
            cell=primitive.cell.array,
            scaled_positions=primitive.get_scaled_positions(),
        ),
        supercell_matrix=np.diag([4, 4, 4]),
        primitive_matrix=np.eye(3),
    )
    calculation.generate_displacements(distance=0.002, is_plusminus=True)
    forces = []
    for cell in calculation.supercells_with_displacements:
        atoms = primitive * (4, 4, 4)
        atoms.set_cell(cell.cell)
        atoms.set_positions(cell.positions)
        atoms.calc = tersoff()
        forces.append(atoms.get_forces())
    calculation.forces = np.array(forces)
    calculation.produce_force_constants()
    calculation.run_qpoints(np.array(POINTS))
    expected = np.sort(np.array(calculation.qpoints.frequencies), axis=1)
    assert np.allclose(found, expected, atol=0.1)


def test_anharmonicity_grows_with_temperature(fit):
    cold, hot = (
        anharmonicity(fit, sample(fit, temperature, n_frames=4, interval_steps=30, seed=1))
        for temperature in (2.0, 40.0)
    )
    assert 0.05 < cold < 0.15
    assert 2.0 * cold < hot < 0.5


def test_vibrations_change_with_temperature(fit):
    at = [
        vibrations(fit, fit.basis.supercell, temperature, POINTS, repeats=(4, 4, 4), n_frames=5)
        for temperature in (1.0, 40.0)
    ]
    # Nearest neighbours that meet harder: the longitudinal mode at X stiffens at fixed volume.
    assert at[1].frequencies_THz[1, 2] > at[0].frequencies_THz[1, 2] + 0.03
    assert np.abs(at[0].frequencies_THz[0, :3]).max() < 1e-3


def test_expansion_without_a_lower_bound_says_so(training):
    odd = fit_force_constants(basis_of(4.0, 4.0), training)
    with pytest.raises(EngineError, match="odd highest order"):
        sample(odd, 200.0, n_frames=40, seed=0)


def test_cutoffs_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="own image"):
        basis_of(9.0)
    with pytest.raises(InputError, match="no parameter of order 3"):
        basis_of(4.0, 0.5)
    with pytest.raises(InputError, match="empty"):
        basis_of()


def test_structures_that_are_not_the_supercell_are_refused(fit):
    other = structure_from_atoms(bulk("Ar", a=ARGON, cubic=True))
    with pytest.raises(InputError, match="another"):
        fit.forces(other)
    positions = fit.basis.supercell.positions.copy()
    positions[3] += [2.5, 0.0, 0.0]
    away = Structure(fit.basis.supercell.numbers, positions, fit.basis.supercell.cell)
    with pytest.raises(InputError, match="away from its site"):
        fit.forces(away)
