"""Warm boundaries: healing and relaxing cool what they move, and cold atoms teach little."""

import numpy as np

from nepal_flows.core.carving.distances import PairDistances, smallest_share
from nepal_flows.core.carving.fragments import Fragment
from nepal_flows.core.carving.healing import HealingOptions
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict


def warmed(
    fragment: Fragment,
    model: NepModel,
    *,
    force_rms: float,
    distances: PairDistances,
    rng: np.random.Generator,
    largest: float = 0.15,
) -> tuple[Fragment, float]:
    """Return the fragment with its boundary rattled to the forces that the parent has.

    Parameters
    ----------
    fragment
        Healed or relaxed, hence cold.
    model
        The potential, whose forces are compared.
    force_rms
        Root mean square of the force components in the parent, eV/Å.
    distances
        Usual distances: no rattling brings atoms nearer than the parent's smallest share.
    rng
        Draws the directions.
    largest
        Largest standard deviation along an axis, Å.

    Returns
    -------
    tuple
        The fragment, and the standard deviation that was taken, Å; 0 where it is warm enough.
    """
    free = np.flatnonzero(~fragment.is_core)
    moves = rng.standard_normal((len(free), 3))
    floor = min(distances.smallest, HealingOptions().nearest)

    def rattled(amplitude: float) -> Fragment:
        positions = fragment.structure.positions.copy()
        positions[free] += amplitude * moves
        return fragment.with_positions(positions)

    def is_too_hot(candidate: Fragment) -> bool:
        forces = predict(model, candidate.structure).forces[free]
        return float(np.sqrt((forces**2).mean())) > force_rms or (
            smallest_share(candidate.structure, distances) < floor
        )

    if len(free) == 0 or is_too_hot(fragment):
        return fragment, 0.0
    low, high = 0.0, largest
    for _ in range(6):
        middle = 0.5 * (low + high)
        if is_too_hot(rattled(middle)):
            high = middle
        else:
            low = middle
    return rattled(low), low


__all__ = ["warmed"]
