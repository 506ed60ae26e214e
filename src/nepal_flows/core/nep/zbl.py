r"""Screened repulsion of nuclei at short range (Ziegler-Biersack-Littmark), cut off smoothly.

.. math:: E_{ij} = k_e \frac{Z_i Z_j}{r} \phi(x) f_c(r),\quad
   x = 2.134563\,(Z_i^{0.23} + Z_j^{0.23})\, r,\quad \phi = \sum_{m=1}^4 a_m e^{-b_m x}

half of which belongs to either atom [1]_. :math:`f_c` is 1 up to the inner cutoff and falls like
a cosine to 0 at the outer one. In the flexible form every pair of elements has its own cutoffs,
a and b. With a type factor a pair's outer cutoff is that factor times the sum of covalent radii,
at most the common one, and the inner cutoff is 0 [2]_.

References
----------
.. [1] J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids (1985).
.. [2] GPUMD 5.x, keywords ``zbl`` and ``use_typewise_cutoff_zbl``.
.. [3] P. Pyykkö, M. Atsumi, Chem. Eur. J. 15, 186 (2009); scaled as in S. Grimme et al.,
   J. Chem. Phys. 132, 154104 (2010).
"""

import math

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.simd import inner
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray

COULOMB_EV_ANGSTROM = 14.399645
"""e^2 / (4 pi eps_0), eV Å, with the digits GPUMD uses."""

_INVERSE_SCREENING_LENGTH = 2.134563  # 1/Å
_UNIVERSAL = (0.18175, 3.1998, 0.50986, 0.94229, 0.28022, 0.4029, 0.02817, 0.20162)

# fmt: off
_SINGLE_BOND_RADII = (  # Å, H to Pu, metals reduced by 10 %, [3]_
    0.32, 0.46, 1.20, 0.94, 0.77, 0.75, 0.71, 0.63, 0.64, 0.67,
    1.40, 1.25, 1.13, 1.04, 1.10, 1.02, 0.99, 0.96, 1.76, 1.54,
    1.33, 1.22, 1.21, 1.10, 1.07, 1.04, 1.00, 0.99, 1.01, 1.09,
    1.12, 1.09, 1.15, 1.10, 1.14, 1.17, 1.89, 1.67, 1.47, 1.39,
    1.32, 1.24, 1.15, 1.13, 1.13, 1.08, 1.15, 1.23, 1.28, 1.26,
    1.26, 1.23, 1.32, 1.31, 2.09, 1.76, 1.62, 1.47, 1.58, 1.57,
    1.56, 1.55, 1.51, 1.52, 1.51, 1.50, 1.49, 1.49, 1.48, 1.53,
    1.46, 1.37, 1.31, 1.23, 1.18, 1.16, 1.11, 1.12, 1.13, 1.32,
    1.30, 1.30, 1.36, 1.31, 1.38, 1.42, 2.01, 1.81, 1.67, 1.58,
    1.52, 1.53, 1.54, 1.55,
)
# fmt: on


def covalent_radius(number: int) -> float:
    """Return the covalent radius that bounds the typewise cutoff of an element, Å.

    It is 4/3 of the tabulated single-bond radius, to the six digits that GPUMD carries.

    Raises
    ------
    ModelError
        Beyond plutonium, where there is no tabulated radius.
    """
    if not 1 <= number <= len(_SINGLE_BOND_RADII):
        raise ModelError(
            f"There is no covalent radius for atomic number {number}; the typewise ZBL cutoff "
            "covers H to Pu. Use a model without a type factor."
        )
    return float(f"{_SINGLE_BOND_RADII[number - 1] * 4.0 / 3.0:.6g}")


def zbl_table(architecture: NepArchitecture) -> FloatArray:
    """Return the parameters of every pair of types.

    Returns
    -------
    FloatArray
        Shape (T, T, 12): inner and outer cutoff (Å), k_e Z_i Z_j (eV Å), inverse screening
        length (1/Å), a_1, b_1 .. a_4, b_4. Shape (0, 0, 12) without repulsion.
    """
    zbl = architecture.zbl
    if zbl is None:
        return np.empty((0, 0, 12))
    numbers = architecture.atomic_numbers
    n_types = len(numbers)
    table = np.empty((n_types, n_types, 12))
    table[:, :, 2] = COULOMB_EV_ANGSTROM * np.outer(numbers, numbers)
    table[:, :, 3] = _INVERSE_SCREENING_LENGTH * np.add.outer(numbers**0.23, numbers**0.23)
    if zbl.parameters is not None:
        first, second = np.triu_indices(n_types)
        if zbl.parameters.shape != (len(first), 10):
            raise ModelError(
                f"`zbl.parameters` has shape {zbl.parameters.shape}, expected "
                f"({len(first)}, 10): ten numbers per pair of elements."
            )
        for t1, t2 in ((first, second), (second, first)):
            table[t1, t2, :2] = zbl.parameters[:, :2]
            table[t1, t2, 4:] = zbl.parameters[:, 2:]
        return table
    table[:, :, 0] = zbl.inner
    table[:, :, 1] = zbl.outer
    table[:, :, 4:] = _UNIVERSAL
    if zbl.type_factor is not None:
        radii = np.array([covalent_radius(int(number)) for number in numbers])
        table[:, :, 0] = 0.0
        table[:, :, 1] = np.minimum(zbl.outer, zbl.type_factor * np.add.outer(radii, radii))
    return table


@inner
def pair_repulsion(parameters, r):  # type: ignore[no-untyped-def]
    """Return the energy of a pair and its derivative in r.

    Parameters
    ----------
    parameters
        One pair's row of :func:`zbl_table`, shape (12,).
    r
        Distance, Å.

    Returns
    -------
    tuple of float
        E (eV) and dE/dr (eV/Å).
    """
    inner, outer = parameters[0], parameters[1]
    if r >= outer:
        return 0.0, 0.0
    scale = parameters[3]
    phi = slope = 0.0
    for m in range(4):
        term = parameters[4 + 2 * m] * math.exp(-parameters[5 + 2 * m] * scale * r)
        phi += term
        slope -= parameters[5 + 2 * m] * scale * term
    energy = parameters[2] * phi / r
    slope = parameters[2] * slope / r - energy / r
    if r <= inner:
        return energy, slope
    width = math.pi / (outer - inner)
    cut = 0.5 + 0.5 * math.cos(width * (r - inner))
    cut_slope = -0.5 * width * math.sin(width * (r - inner))
    return energy * cut, slope * cut + energy * cut_slope


__all__ = ["COULOMB_EV_ANGSTROM", "covalent_radius", "pair_repulsion", "zbl_table"]
