r"""The equation of state of Birch and Murnaghan, third order.

It is a cubic polynomial in :math:`x = V^{-2/3}`, so that the fit is linear and has one solution
(F. Birch, Physical Review 71, 809 (1947)).
"""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.cells import scaled
from silicon.evaluation import Evaluator

VOLUMES = np.linspace(0.92, 1.08, 11)
"""Volumes of the fit, over that of the cell it begins from."""


@dataclass(frozen=True, eq=False)
class EquationOfState:
    """Energy against volume, and what follows from it.

    Attributes
    ----------
    volumes, energies
        What was fitted, per atom, Å^3 and eV, shape (n,).
    pressures
        From the virial, GPa, shape (n,).
    volume, energy
        At the minimum, per atom, Å^3 and eV.
    bulk_modulus, bulk_modulus_derivative
        There, GPa and dimensionless.
    residual
        Root mean square misfit of the energies, eV per atom.
    pressure_at_minimum
        What the virials say where the energy is least, GPa: zero if they belong to the energies.
    """

    volumes: FloatArray
    energies: FloatArray
    pressures: FloatArray
    volume: float
    energy: float
    bulk_modulus: float
    bulk_modulus_derivative: float
    residual: float
    pressure_at_minimum: float

    @property
    def lattice_constant(self) -> float:
        """Cubic lattice constant of the diamond structure, eight atoms a cell, Å."""
        return float((8.0 * self.volume) ** (1.0 / 3.0))

    def fitted(self, volumes: FloatArray) -> FloatArray:
        """Return the energies of the fit, eV per atom."""
        coefficients = _coefficients(self.volumes, self.energies)
        return np.asarray(coefficients(volumes ** (-2.0 / 3.0)), dtype=np.float64)


def equation_of_state(evaluate: Evaluator, crystal: Structure) -> EquationOfState:
    """Return the equation of state of a crystal without internal freedom.

    Parameters
    ----------
    evaluate
        Who answers for energies and virials.
    crystal
        A cell near equilibrium.
    """
    labels = evaluate("eos", [scaled(crystal, float(x) ** (1.0 / 3.0)) for x in VOLUMES])
    return fitted_equation_of_state(labels)


def fitted_equation_of_state(labels: list[LabelledStructure]) -> EquationOfState:
    """Return the equation of state fitted to labelled cells of several volumes.

    Raises
    ------
    InputError
        If there are fewer than five, or the energies have no minimum between them.
    """
    if len(labels) < 5:
        raise InputError(f"{len(labels)} volumes do not determine the fit. Give five or more.")
    volumes = np.array([label.structure.volume / label.n_atoms for label in labels])
    energies = np.array([label.energy / label.n_atoms for label in labels])
    traces = np.array([0.0 if f.virial is None else np.trace(f.virial) for f in labels])
    whole = np.array([label.structure.volume for label in labels])
    pressures = traces / (3.0 * whole) * EV_PER_CUBIC_ANGSTROM_TO_GPA
    energy = _coefficients(volumes, energies)
    first, second, third = energy.deriv(1), energy.deriv(2), energy.deriv(3)
    low, high = volumes.min() ** (-2.0 / 3.0), volumes.max() ** (-2.0 / 3.0)
    minima = [
        root.real
        for root in first.roots()
        if abs(root.imag) < 1e-12 and high < root.real < low and second(root.real) > 0.0
    ]
    if len(minima) != 1:
        raise InputError(
            f"The energies have no single minimum between {volumes.min():.2f} and "
            f"{volumes.max():.2f} Å^3 per atom. Begin nearer to equilibrium."
        )
    x = float(minima[0])
    volume = x**-1.5
    # With dx/dV = -2/3 x^{5/2}: P = 2/3 E' x^{5/2}; B = -V dP/dV; B' = dB/dP at E' = 0.
    bulk = 4.0 / 9.0 * second(x) * x**3.5
    derivative = (2.0 / 3.0) * (third(x) * x / second(x) + 6.0)
    residual = float(np.sqrt(np.mean((energy(volumes ** (-2.0 / 3.0)) - energies) ** 2)))
    order = np.argsort(volumes)
    at_minimum = np.polynomial.Polynomial.fit(volumes[order], pressures[order], 4)(volume)
    return EquationOfState(
        volumes=volumes,
        energies=energies,
        pressures=pressures,
        volume=float(volume),
        energy=float(energy(x)),
        bulk_modulus=float(bulk) * EV_PER_CUBIC_ANGSTROM_TO_GPA,
        bulk_modulus_derivative=float(derivative),
        residual=residual,
        pressure_at_minimum=float(at_minimum),
    )


def _coefficients(volumes: FloatArray, energies: FloatArray) -> np.polynomial.Polynomial:
    return np.polynomial.Polynomial.fit(volumes ** (-2.0 / 3.0), energies, 3)


__all__ = ["VOLUMES", "EquationOfState", "equation_of_state", "fitted_equation_of_state"]
