"""The parts of a step: exact ensembles of velocities and volumes, fixed centre of mass."""

import numpy as np
import pytest
from ase import units

from nepal_flows.core.md.integrators import (
    drift,
    kick,
    kinetic_energy,
    kinetic_temperature,
    thermalise,
    volume_factor,
)
from nepal_flows.core.md.random import random_state
from nepal_flows.units import BOLTZMANN_EV_PER_K

MASSES = np.array([1.0, 12.0, 63.5, 197.0])


def test_kick_is_newtons_law_in_ases_units() -> None:
    rng = np.random.default_rng(0)
    forces, velocities = rng.normal(size=(2, 4, 3))
    expected = velocities + forces / MASSES[:, None] * (0.7 * units.fs) * units.fs
    kick(velocities, forces, MASSES, 0.7)
    np.testing.assert_allclose(velocities, expected, rtol=1e-8)


def test_kinetic_energy_is_ases() -> None:
    velocities = np.random.default_rng(0).normal(size=(4, 3)) * 0.01
    expected = 0.5 * (MASSES[:, None] * (velocities / units.fs) ** 2).sum()
    assert kinetic_energy(velocities, MASSES) == pytest.approx(expected, rel=1e-8)


def test_drift_is_uniform_motion() -> None:
    positions, velocities = np.zeros((2, 3)), np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5]])
    drift(positions, velocities, 0.5)
    np.testing.assert_array_equal(positions, 0.5 * velocities)


def test_thermalised_velocities_are_maxwell_boltzmann_without_drift() -> None:
    state, noise = random_state(3), np.empty(12)
    velocities = np.zeros((4, 3))
    kinetic, momenta, lightest = [], [], []
    for _ in range(20_000):
        thermalise(velocities, MASSES, 500.0, 30.0, 10.0, state, noise)
        kinetic.append(kinetic_energy(velocities, MASSES))
        momenta.append(np.abs(MASSES @ velocities).max())
        lightest.append(velocities[0, 0])
    kT = BOLTZMANN_EV_PER_K * 500.0
    assert np.mean(kinetic) == pytest.approx(4.5 * kT, rel=0.02)
    assert np.var(kinetic) == pytest.approx(4.5 * kT**2, rel=0.06)
    assert max(momenta) < 1e-12
    total = MASSES.sum()
    spread = kT / MASSES[0] * (1 - MASSES[0] / total) * units.fs**2
    assert np.var(lightest) == pytest.approx(spread, rel=0.05)


def test_thermostat_forgets_at_its_relaxation_time() -> None:
    state, noise = random_state(3), np.empty(6)
    masses = np.array([1.0, 1e12])
    velocities = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    thermalise(velocities, masses, 0.0, 50.0, 100.0, state, noise)
    assert velocities[0, 0] == pytest.approx(np.exp(-0.5))


def test_one_atom_stands_still() -> None:
    velocities = np.ones((1, 3))
    thermalise(velocities, MASSES[:1], 500.0, 2.0, 100.0, random_state(0), np.empty(3))
    assert (velocities == 0.0).all()
    assert kinetic_temperature(0.0, 1) == 0.0


@pytest.mark.parametrize("n_atoms", [3, 8])
def test_volume_of_an_ideal_gas_has_its_exact_distribution(n_atoms: int) -> None:
    # P(V) ~ V^n exp(-P V / kT): mean (n + 1) kT / P, variance (n + 1) (kT / P)^2
    state, noise = random_state(0), np.empty(3)
    kT = BOLTZMANN_EV_PER_K * 1000.0
    volume, volumes = (n_atoms + 1) * kT, []
    for _ in range(600_000):
        volume *= volume_factor(volume, 0.0, n_atoms, 1000.0, 1.0, 0.01, 2.0, state, noise)
        volumes.append(volume)
    assert np.mean(volumes) == pytest.approx((n_atoms + 1) * kT, rel=0.03)
    assert np.var(volumes) == pytest.approx((n_atoms + 1) * kT**2, rel=0.12)
