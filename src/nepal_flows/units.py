"""Constants and conversion factors (CODATA 2018), each named for what it does.

The package works in Å, eV, eV/Å, amu, K, fs and GPa. A virial is in eV and positive when the
system is compressed; a stress in ASE's sign is positive in tension, ``stress = -virial / volume``.
"""

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""Boltzmann constant, eV/K."""

HARTREE_TO_EV = 27.211386245988
BOHR_TO_ANGSTROM = 0.529177210903
RYDBERG_TO_EV = HARTREE_TO_EV / 2.0

HARTREE_PER_BOHR_TO_EV_PER_ANGSTROM = HARTREE_TO_EV / BOHR_TO_ANGSTROM

EV_PER_CUBIC_ANGSTROM_TO_GPA = 160.21766208
"""1 eV/Å^3 in GPa, as ASE has it (CODATA 2014), so that pressures agree to the last digit."""

KILOBAR_TO_GPA = 0.1

ACCELERATION_FACTOR = 9.648533212331e-3
"""1 eV/(Å amu) in Å/fs^2."""

KINETIC_ENERGY_FACTOR = 103.64269652680505
"""1 amu (Å/fs)^2 in eV."""

__all__ = [
    "ACCELERATION_FACTOR",
    "BOHR_TO_ANGSTROM",
    "BOLTZMANN_EV_PER_K",
    "EV_PER_CUBIC_ANGSTROM_TO_GPA",
    "HARTREE_PER_BOHR_TO_EV_PER_ANGSTROM",
    "HARTREE_TO_EV",
    "KILOBAR_TO_GPA",
    "KINETIC_ENERGY_FACTOR",
    "RYDBERG_TO_EV",
]
