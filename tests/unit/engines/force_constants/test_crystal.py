"""One expansion in several supercells, its errors, and dynamics with it: argon."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.data import atomic_masses

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.scoring import Scale
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.force_constants.crystal import (
    Crystal,
    fit_crystal,
    pack_fit,
    site_force,
    unpack_fit,
)
from nepal_flows.engines.force_constants.dynamics import run_crystal_md
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.trigger import Trigger
from nepal_flows.errors import InputError, ModelError, TrainingError
from nepal_flows.io.structures import labelled_from_atoms, structure_from_atoms
from nepal_flows.jobs.force_constants.assess import site_warnings
from nepal_flows.units import KINETIC_ENERGY_FACTOR

SMALL, LARGE = (2, 2, 2), (2, 2, 3)


def cell(repeats):
    return bulk("Ar", a=5.31, cubic=True) * repeats


def frame(amplitude, seed, repeats=SMALL):
    atoms = cell(repeats)
    atoms.positions += np.random.default_rng(seed).normal(0.0, amplitude, (len(atoms), 3))
    atoms.calc = LennardJones(sigma=3.405, epsilon=0.0104, rc=5.1, ro=4.4, smooth=True)
    atoms.get_forces()
    return labelled_from_atoms(atoms)


@pytest.fixture(scope="module")
def crystal():
    cells = [structure_from_atoms(cell(repeats)) for repeats in (SMALL, LARGE)]
    return Crystal.of(structure_from_atoms(bulk("Ar", a=5.31)), (4.0, 4.0, 4.0), cells)


@pytest.fixture(scope="module")
def frames():
    return [frame(0.05 + 0.03 * k, k) for k in range(4)]


@pytest.fixture(scope="module")
def fit(crystal, frames):
    return fit_crystal(crystal, frames)


def rmse(fit, frames):
    errors = [fit.forces(f.structure) - f.forces for f in frames]
    return float(np.sqrt(np.mean(np.square(errors))))


def test_frames_added_to_a_fit_give_the_fit_to_all_bit_by_bit(crystal, frames, fit):
    first = fit_crystal(crystal, frames[:2])
    stored = unpack_fit(pack_fit(first), [structure_from_atoms(cell(SMALL))])
    both = fit_crystal(crystal, frames, before=stored, n_known=2)
    assert pack_fit(both) == pack_fit(fit)


def test_parameters_hold_in_a_larger_supercell(fit, frames):
    large = frame(0.1, 77, LARGE)
    assert rmse(fit, [large]) < 2.0 * rmse(fit, frames)
    assert fit.energy(large.structure) == pytest.approx(large.energy, abs=2e-3 * large.n_atoms)


def test_bars_are_the_scaled_deviations_of_brute_force(crystal, frames, fit):
    unseen = frame(0.12, 78).structure
    rows = [crystal.basis_of(f.structure).rows(f.structure) for f in frames]
    own = crystal.basis_of(unseen).rows(unseen)
    covariance = fit.posterior.root @ fit.posterior.root.T
    s = np.sqrt(np.einsum("ij,jk,ik->i", own, covariance, own)).reshape(-1, 3)
    every = np.concatenate(rows)
    training = np.sqrt(np.mean(np.einsum("ij,jk,ik->i", every, covariance, every)))
    bars = fit.at(unseen).bars(unseen)
    expected = np.sqrt(np.mean(s**2, axis=1)) / training
    np.testing.assert_allclose(bars.ratios, expected, rtol=1e-6)
    np.testing.assert_allclose(bars.forces, expected * rmse(fit, frames), rtol=1e-5)


def test_calibration_of_unseen_frames_of_the_same_kind_is_sound(fit):
    unseen = [frame(0.05 + 0.03 * (k % 4), 200 + k) for k in range(4)]
    bars = [fit.at(f.structure).bars(f.structure).force_rms for f in unseen]
    assert 0.5 < rmse(fit, unseen) / np.sqrt(np.mean(np.square(bars))) < 2.0


def test_forces_on_the_sites_are_found_where_sites_are_not_those_of_rest(frames):
    unit = structure_from_atoms(bulk("Ar", a=5.31, cubic=True))
    harmonic = Crystal.of(unit, (4.0,), [structure_from_atoms(cell(SMALL))])
    at_rest = site_force(fit_crystal(harmonic, frames), frames)
    assert not at_rest.is_there
    pull = np.zeros((32, 3))
    pull[::4, 0], pull[1::4, 0] = 0.06, -0.06  # the first two sites of every unit cell
    pulled = [
        LabelledStructure(f.structure, energy=f.energy, forces=f.forces + pull) for f in frames
    ]
    found = site_force(fit_crystal(harmonic, pulled), pulled)
    assert found.is_there
    assert found.largest == pytest.approx(0.06, rel=0.25)
    assert "relax the starting structure" in site_warnings(fit_crystal(harmonic, pulled), pulled)[0]


def test_structures_of_no_supercell_are_refused(fit):
    strained = frame(0.05, 1).structure
    other = Structure(strained.numbers, strained.positions, 1.01 * strained.cell)
    with pytest.raises(InputError, match=r"none of the ideal supercells .*32, 48 atoms"):
        fit.forces(other)


def test_damaged_bytes_and_no_frames_are_refused(crystal):
    with pytest.raises(ModelError, match="no force constants"):
        unpack_fit(b"nothing")
    with pytest.raises(TrainingError, match="no frame"):
        fit_crystal(crystal, [])


def run(fit, structure=None, *, steps=200, ensemble="nve", temperature=15.0, **options):
    settings = {
        "seed": 3,
        "check_interval": 20,
        "gate": PhysicsGate(),
        "time_step_fs": 4.0,
        "scale": Scale(),
    }
    start = structure_from_atoms(cell(SMALL)) if structure is None else structure
    return run_crystal_md(
        start, fit, [MdSegment(ensemble, temperature, steps)], **settings | options
    )


def test_energy_is_conserved_and_the_work_of_its_forces(fit):
    trace = run(fit).trace
    total = trace.potential_energy_eV + trace.kinetic_energy_eV
    assert np.ptp(total) < 0.01 * np.ptp(trace.kinetic_energy_eV)
    assert np.ptp(trace.kinetic_energy_eV) > 1e-3


def test_a_resumed_run_goes_on_from_positions_and_velocities(fit):
    """Without a thermostat, an interrupted run and its rest are the whole run."""
    whole = run(fit)
    trigger = Trigger(limit=1e-9, gap_steps=100)
    first = run(fit, trigger=trigger)
    assert first.outcome == "stopped_by_grade"
    assert first.state.step == 100
    assert len(first.candidates) == 1
    rest = run(fit, first.state.structure, resumed=first.state)
    assert rest.requested_steps == rest.finished_steps == 100
    assert rest.trace.step[-1] == 200
    np.testing.assert_allclose(rest.final.positions, whole.final.positions, atol=1e-9)
    kinetic = 0.5 * KINETIC_ENERGY_FACTOR * atomic_masses[18] * np.sum(first.state.velocities**2)
    assert first.trace.kinetic_energy_eV[-1] == pytest.approx(kinetic)


def test_small_bars_far_from_all_labels_interrupt_and_are_not_believed(crystal):
    """Fitted near the sites the expansion is exact there, and knows nothing of what it lacks."""
    near = fit_crystal(crystal, [frame(0.005, 1), frame(0.01, 2)])
    options = {"ensemble": "nvt", "temperature": 30.0, "gamma_low": 2.0}
    believing = run(near, trigger=Trigger(limit=5e-3), scale=Scale(wanted=5e-3), **options)
    assert believing.outcome == "finished"
    assert believing.n_exceeded_checks == 0
    scale = Scale(wanted=5e-3, believed=30.0)
    doubting = run(near, trigger=Trigger(limit=5e-3, score=30.0), scale=scale, **options)
    assert "believed up to 30" in doubting.reason
    (met,) = doubting.candidates
    assert met.gamma > 30.0


def test_an_atom_that_leaves_its_site_ends_the_run_with_its_last_frame(fit):
    broken = run(fit, ensemble="nvt", temperature=900.0, steps=400, check_interval=1,
                 trigger=Trigger(limit=1e-9, gap_steps=10_000))  # fmt: skip
    assert broken.outcome == "stopped_by_gate"
    assert "away from its site" in broken.reason
    (last,) = broken.candidates
    assert last.step == broken.finished_steps
    assert last.grades.shape == (32,)


def test_a_changing_volume_and_an_empty_protocol_are_refused(fit):
    with pytest.raises(InputError, match="one volume"):
        run(fit, ensemble="npt")
    start = structure_from_atoms(cell(SMALL))
    with pytest.raises(InputError, match="protocol is empty"):
        run_crystal_md(start, fit, [], seed=1, gate=PhysicsGate(), scale=Scale())
