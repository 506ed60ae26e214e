r"""Near-duplicates: frames that would teach nothing a labelled frame does not teach already.

Two frames are compared by the scaled descriptors of their atoms: the distance is the root mean
square difference under the best pairing of atoms of one element, so neither the order of atoms,
nor a rotation, nor a translation matters. The distance of the frames' mean descriptors bounds it
from below, so that few pairs need the pairing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class NearDuplicate:
    """The nearest known frame of the same composition.

    Attributes
    ----------
    index
        Which of the known frames, in the order in which they were added.
    distance
        Root mean square difference of scaled descriptors, dimensionless.
    """

    index: int
    distance: float


class KnownFrames:
    """The frames against which others are compared.

    Parameters
    ----------
    frames
        Factors of the frames known from the start.
    """

    def __init__(self, frames: Sequence[ProjectionFactors] = ()) -> None:
        self._frames: list[ProjectionFactors] = []
        self._by_composition: dict[bytes, list[int]] = {}
        self._signatures: list[FloatArray] = []
        for frame in frames:
            self.add(frame)

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: ProjectionFactors) -> None:
        """Add a frame to the known ones."""
        self._by_composition.setdefault(_composition(frame), []).append(len(self._frames))
        self._signatures.append(frame_signature(frame))
        self._frames.append(frame)

    def near_duplicate(self, frame: ProjectionFactors, tolerance: float) -> NearDuplicate | None:
        """Return the nearest known frame within the tolerance, or None."""
        peers = self._by_composition.get(_composition(frame), [])
        if not peers:
            return None
        signature = frame_signature(frame)
        bounds = np.linalg.norm([self._signatures[k] - signature for k in peers], axis=1)
        best: NearDuplicate | None = None
        for which in np.flatnonzero(bounds <= tolerance):
            distance = frame_distance(self._frames[peers[which]], frame)
            if distance <= tolerance and (best is None or distance < best.distance):
                best = NearDuplicate(peers[which], distance)
        return best


def frame_distance(first: ProjectionFactors, second: ProjectionFactors) -> float:
    """Return the distance of two frames by their scaled descriptors.

    Parameters
    ----------
    first, second
        Factors of the frames, of one model.

    Returns
    -------
    float
        Root mean square difference per descriptor under the best pairing of atoms of one
        element, dimensionless; infinite between frames of different composition.
    """
    if _composition(first) != _composition(second):
        return float("inf")
    total = 0.0
    for kind in np.unique(first.types):
        left, right = first.y[first.types == kind], second.y[second.types == kind]
        squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2.0 * left @ right.T
        rows, columns = linear_sum_assignment(squares)
        total += float(((left[rows] - right[columns]) ** 2).sum())
    return float(np.sqrt(total / first.y.size))


def frame_signature(frame: ProjectionFactors) -> FloatArray:
    """Return mean descriptors per element, weighted so that their distance is a lower bound.

    Parameters
    ----------
    frame
        Factors of the frame.

    Returns
    -------
    FloatArray
        Shape (n_elements_present * n_descriptors,). For frames of one composition the Euclidean
        distance of signatures is at most :func:`frame_distance`.
    """
    n_atoms, n_descriptors = frame.y.shape
    parts = []
    for kind in np.unique(frame.types):
        own = frame.y[frame.types == kind]
        parts.append(own.mean(axis=0) * np.sqrt(len(own) / (n_atoms * n_descriptors)))
    return np.concatenate(parts) if parts else np.zeros(0)


def _composition(frame: ProjectionFactors) -> bytes:
    counts: IntArray = np.bincount(np.asarray(frame.types, dtype=np.int64))
    return counts.tobytes()


__all__ = [
    "KnownFrames",
    "NearDuplicate",
    "frame_distance",
    "frame_signature",
]
