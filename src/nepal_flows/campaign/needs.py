"""How many environments and labels every element needs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.campaign.model import Campaign
from nepal_flows.core.elements import atomic_number
from nepal_flows.core.structure import Structure

ROWS_PER_COLUMN = (2.5, 7.5)
"""Training environments of an element, over d, at which converged campaigns were found to be.

Copper and nickel with EMT: 2.8, 5.0, 6.1, 7.3 and 7.4. Errors are low from 1.4 on; it is the hot
and liquid conditions that take the rest until they are clean.
"""


@dataclass(frozen=True)
class ElementNeed:
    """What one element's active set needs.

    Attributes
    ----------
    element
        Chemical symbol.
    n_projection
        Length d of b: columns to be spanned.
    rows_needed
        Training environments, lowest and highest expected number.
    rows_from_seeds
        Environments that the seeds bring.
    rows_per_label
        Environments in a label of the exploration, on average.
    labels_needed
        Labels, lowest and highest expected number.
    """

    element: str
    n_projection: int
    rows_needed: tuple[int, int]
    rows_from_seeds: int
    rows_per_label: float
    labels_needed: tuple[int, int]


def labels_needed(n_projection: int, n_elements: int, *, n_atoms: float) -> tuple[int, int]:
    """Return the expected number of labels, lowest and highest, without audit frames.

    They are 2.5 to 7.5 d x elements / mean N.

    Parameters
    ----------
    n_projection
        Length d of the B-projection.
    n_elements
        Elements that share the atoms evenly.
    n_atoms
        Mean number of atoms of a label.

    Examples
    --------
    >>> labels_needed(540, 1, n_atoms=32)
    (43, 127)
    """
    low, high = (
        math.ceil(factor * n_projection * n_elements / n_atoms) for factor in ROWS_PER_COLUMN
    )
    return low, high


def element_needs(
    campaign: Campaign, seeds: Sequence[Structure], starts: Sequence[Structure], n_projection: int
) -> tuple[ElementNeed, ...]:
    """Return what the active set of every element needs.

    Parameters
    ----------
    campaign
        The campaign, elements filled in.
    seeds
        Its seeds.
    starts
        One start of every condition.
    n_projection
        Length d of the B-projection.
    """
    needs = []
    for symbol in campaign.model.elements:
        number = atomic_number(symbol)
        from_seeds = int(sum((seed.numbers == number).sum() for seed in seeds))
        per_label = float(np.mean([(start.numbers == number).sum() for start in starts]))
        rows = (
            math.ceil(ROWS_PER_COLUMN[0] * n_projection),
            math.ceil(ROWS_PER_COLUMN[1] * n_projection),
        )
        low, high = (
            len(seeds) + math.ceil(max(0.0, row - from_seeds) / max(per_label, 1e-9))
            if per_label > 0.0 or row <= from_seeds
            else 10**9
            for row in rows
        )
        needs.append(ElementNeed(symbol, n_projection, rows, from_seeds, per_label, (low, high)))
    return tuple(needs)


__all__ = ["ROWS_PER_COLUMN", "ElementNeed", "element_needs", "labels_needed"]
