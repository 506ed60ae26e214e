"""Distances that atoms should not fall below, from ASE's covalent radii."""

from collections.abc import Iterable

from ase.data import covalent_radii

SMALLEST_SHARE = 0.6
"""Default share of the sum of two covalent radii: 1.58 Å for copper, 0.37 Å for hydrogen."""


def smallest_distances(
    numbers: Iterable[int], *, factor: float = SMALLEST_SHARE
) -> dict[tuple[int, int], float]:
    """Return a smallest distance by pair of atomic numbers (smaller first), Å.

    Parameters
    ----------
    numbers
        Atomic numbers.
    factor
        Share of the sum of the two covalent radii.
    """
    ordered = sorted({int(number) for number in numbers})
    return {
        (a, b): factor * float(covalent_radii[a] + covalent_radii[b])
        for i, a in enumerate(ordered)
        for b in ordered[i:]
    }


__all__ = ["SMALLEST_SHARE", "smallest_distances"]
