r"""One step of molecular dynamics, in parts that compiled loops put together.

Velocity Verlet is B A A B; Langevin dynamics is B A O A B [1]_ with the exact
Ornstein-Uhlenbeck step O, from which the motion of the centre of mass is projected out, so that
the other 3n - 3 velocities are exactly Maxwell-Boltzmann. The barostat is isotropic stochastic
cell rescaling [2]_: the volume follows

.. math:: d\lambda = -\frac{\lambda\beta}{2\tau}\left(P_0 - P - \frac{k_BT}{2V}\right) dt
   + \sqrt{\frac{k_BT\beta}{2\tau}}\, dW, \qquad \lambda = \sqrt{V},

with :math:`P = (n k_B T + \tfrac13 \mathrm{tr} W)/V`. The kinetic part is the mean one, and
velocities are not scaled: the volume moves at fixed momenta, which leaves the isothermal-isobaric
ensemble invariant for any number of atoms, one included.

Lengths in Å, times in fs, masses in amu, energies in eV, pressures in eV/Å^3.

References
----------
.. [1] B. Leimkuhler and C. Matthews, J. Chem. Phys. 138, 174102 (2013).
.. [2] M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107 (2020).
"""

import math

import numba

from nepal_flows.core.md.random import fill_normals
from nepal_flows.units import ACCELERATION_FACTOR, BOLTZMANN_EV_PER_K, KINETIC_ENERGY_FACTOR

LARGEST_VOLUME_STEP = 0.1
"""Largest relative change of the volume in one step that counts as sound."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def kick(velocities, forces, masses, time):  # type: ignore[no-untyped-def]
    """Advance velocities under constant forces."""
    for i in range(masses.shape[0]):
        factor = ACCELERATION_FACTOR * time / masses[i]
        for c in range(3):
            velocities[i, c] += factor * forces[i, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def drift(positions, velocities, time):  # type: ignore[no-untyped-def]
    """Advance positions at constant velocities."""
    for i in range(positions.shape[0]):
        for c in range(3):
            positions[i, c] += time * velocities[i, c]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def stop_drift(velocities, masses):  # type: ignore[no-untyped-def]
    """Take the velocity of the centre of mass from every atom."""
    total = 0.0
    for i in range(masses.shape[0]):
        total += masses[i]
    for c in range(3):
        momentum = 0.0
        for i in range(masses.shape[0]):
            momentum += masses[i] * velocities[i, c]
        for i in range(masses.shape[0]):
            velocities[i, c] -= momentum / total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def thermalise(velocities, masses, temperature, time, relaxation, state, noise):  # type: ignore[no-untyped-def]
    """Advance velocities by the exact Ornstein-Uhlenbeck process.

    Parameters
    ----------
    velocities, masses
        Shapes (n_atoms, 3) and (n_atoms,); velocities are changed.
    temperature
        K.
    time, relaxation
        How long, and the decay time of a velocity, fs.
    state
        Of the random numbers; changed.
    noise
        Scratch, shape (3 n_atoms,).
    """
    keep = math.exp(-time / relaxation)
    fill_normals(state, noise)
    spread = math.sqrt((1.0 - keep * keep) * BOLTZMANN_EV_PER_K * temperature)
    for i in range(masses.shape[0]):
        sigma = spread / math.sqrt(masses[i] * KINETIC_ENERGY_FACTOR)
        for c in range(3):
            velocities[i, c] = keep * velocities[i, c] + sigma * noise[3 * i + c]
    stop_drift(velocities, masses)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def volume_factor(  # type: ignore[no-untyped-def]
    volume, virial_trace, n_atoms, temperature, pressure, mobility, time, state, noise
):
    """Return the volume after a step of stochastic cell rescaling, over the one before.

    Parameters
    ----------
    volume, virial_trace, n_atoms
        Å^3, eV, count.
    temperature, pressure
        Targets, K and eV/Å^3.
    mobility
        Compressibility over relaxation time, Å^3/(eV fs).
    time
        fs.
    state, noise
        State of the random numbers (changed) and scratch of at least one number.
    """
    fill_normals(state, noise[:1])
    kT = BOLTZMANN_EV_PER_K * temperature
    inner = (n_atoms * kT + virial_trace / 3.0) / volume
    root = math.sqrt(volume)
    pull = pressure - inner - 0.5 * kT / volume
    new = root - 0.5 * mobility * root * pull * time
    new += math.sqrt(0.5 * kT * mobility * time) * noise[0]
    return new * abs(new) / volume


@numba.njit(cache=True, nogil=True, error_model="numpy")
def kinetic_energy(velocities, masses):  # type: ignore[no-untyped-def]
    """Return the kinetic energy, eV."""
    total = 0.0
    for i in range(masses.shape[0]):
        square = 0.0
        for c in range(3):
            square += velocities[i, c] * velocities[i, c]
        total += masses[i] * square
    return 0.5 * KINETIC_ENERGY_FACTOR * total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def kinetic_temperature(kinetic, n_atoms):  # type: ignore[no-untyped-def]
    """Return the temperature of a kinetic energy (eV) without centre-of-mass motion, K."""
    if n_atoms == 1:
        return 0.0
    return 2.0 * kinetic / (3.0 * (n_atoms - 1) * BOLTZMANN_EV_PER_K)


__all__ = [
    "LARGEST_VOLUME_STEP",
    "drift",
    "kick",
    "kinetic_energy",
    "kinetic_temperature",
    "stop_drift",
    "thermalise",
    "volume_factor",
]
