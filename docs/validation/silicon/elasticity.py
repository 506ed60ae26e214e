r"""Elastic constants from stresses, with the atoms relaxed inside the strained cell.

To second order in the strain :math:`\eta` (Voigt) and the displacements u at fixed fractional
coordinates, :math:`E = \frac{V}{2} \eta C^0 \eta + \frac12 u \Phi u - u \Lambda \eta`. Stresses and
forces of strained cells give the clamped :math:`C^0` and :math:`\Lambda`, forces of displaced atoms
give :math:`\Phi`, and the relaxed constants are :math:`C = C^0 - \Lambda^T \Phi^+ \Lambda / V`
(M. Born and K. Huang, Dynamical Theory of Crystal Lattices, 1954). All are central differences of
single points: nothing has to be relaxed, and no optimizer's tolerance enters.
"""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import LabelError
from nepal_flows.typing import FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from silicon.cells import displaced, strained
from silicon.evaluation import Evaluator

STRAIN = 0.01
DISPLACEMENT_A = 0.02

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class ElasticConstants:
    """Stiffness of a crystal.

    Attributes
    ----------
    clamped, relaxed
        Stiffness in Voigt order (xx, yy, zz, yz, xz, xy), engineering shears, shape (6, 6), GPa:
        with fixed fractional coordinates, and with relaxed atoms.
    force_constants
        Second derivatives at Gamma, shape (3 n_atoms, 3 n_atoms), eV/Å^2.
    """

    clamped: FloatArray
    relaxed: FloatArray
    force_constants: FloatArray

    @property
    def cubic(self) -> dict[str, float]:
        """The constants of a cubic crystal, means over what symmetry makes equal, GPa."""
        return {name: float(np.mean(values)) for name, values in _cubic_groups(self).items()}

    @property
    def spread(self) -> float:
        """Largest deviation from cubic symmetry, GPa: what the labels' k-points break."""
        groups = _cubic_groups(self).values()
        within = max(float(np.ptp(values)) / 2.0 for values in groups)
        allowed = np.zeros((6, 6), dtype=bool)
        allowed[:3, :3] = True
        allowed[range(3, 6), range(3, 6)] = True
        return max(within, float(np.abs(self.relaxed[~allowed]).max()))


def _cubic_groups(constants: ElasticConstants) -> dict[str, FloatArray]:
    relaxed, clamped = constants.relaxed, constants.clamped
    off_diagonal = ~np.eye(3, dtype=bool)
    return {
        "C11": np.diagonal(relaxed)[:3],
        "C12": relaxed[:3, :3][off_diagonal],
        "C44": np.diagonal(relaxed)[3:],
        "C44 clamped": np.diagonal(clamped)[3:],
    }


def elastic_constants(
    evaluate: Evaluator,
    crystal: Structure,
    *,
    strain: float = STRAIN,
    displacement: float = DISPLACEMENT_A,
) -> ElasticConstants:
    """Return the elastic constants of a crystal at equilibrium.

    Parameters
    ----------
    evaluate
        Who answers for forces and virials.
    crystal
        A cell whose forces vanish.
    strain
        Size of the strains, both signs.
    displacement
        Size of the displacements, both signs, Å.

    Raises
    ------
    LabelError
        If a label has no virial.
    """
    strains = [sign * strain * voigt for voigt in _voigt_strains() for sign in (1.0, -1.0)]
    steps = [sign * displacement * step for step in _unit_steps(crystal) for sign in (1.0, -1.0)]
    labels = evaluate(
        "elastic",
        [strained(crystal, one) for one in strains] + [displaced(crystal, one) for one in steps],
    )
    under_strain, moved = labels[: len(strains)], labels[len(strains) :]
    stresses = np.array([_voigt_stress(label) for label in under_strain])
    forces = np.array([label.forces.ravel() for label in under_strain])
    clamped = (stresses[0::2] - stresses[1::2]).T / (2.0 * strain)
    coupling = (forces[0::2] - forces[1::2]).T / (2.0 * strain)
    response = np.array([label.forces.ravel() for label in moved])
    constants = -(response[0::2] - response[1::2]) / (2.0 * displacement)
    constants = 0.5 * (constants + constants.T)
    softening = coupling.T @ _inverse(constants) @ coupling / crystal.volume
    softening *= EV_PER_CUBIC_ANGSTROM_TO_GPA
    clamped = 0.5 * (clamped + clamped.T)
    return ElasticConstants(clamped, clamped - softening, constants)


def _voigt_strains() -> list[FloatArray]:
    """Return the six unit strains as symmetric matrices; a unit shear is an engineering shear."""
    units = []
    for a, b in _VOIGT:
        unit = np.zeros((3, 3))
        unit[a, b] += 0.5
        unit[b, a] += 0.5
        units.append(unit)
    return units


def _unit_steps(crystal: Structure) -> list[FloatArray]:
    identity = np.eye(3 * crystal.n_atoms)
    return [row.reshape(-1, 3) for row in identity]


def _voigt_stress(label: LabelledStructure) -> FloatArray:
    if label.virial is None:
        raise LabelError("Elastic constants need virials, and a label has none.")
    stress = -label.virial / label.structure.volume * EV_PER_CUBIC_ANGSTROM_TO_GPA
    return np.array([0.5 * (stress[a, b] + stress[b, a]) for a, b in _VOIGT])


def _inverse(force_constants: FloatArray) -> FloatArray:
    """Return the inverse without the three translations."""
    values, vectors = np.linalg.eigh(force_constants)
    kept = np.argsort(np.abs(values))[3:]
    inverse: FloatArray = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    return inverse


__all__ = ["DISPLACEMENT_A", "STRAIN", "ElasticConstants", "elastic_constants"]
