"""Features of a data set, kept in memory or made anew piece by piece."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.features import Features, build_features
from nepal_flows.core.nep.training.layout import sizes_of
from nepal_flows.core.structure import Structure
from nepal_flows.typing import IntArray

_SMALL_SET = 10_000  # atoms, whose features are made to see how large they are
_N_SAMPLED = 8
_SAVED_SHARE = 0.25  # of the memory limit, for what one pass saves for the next


class Piece(NamedTuple):
    """Features of part of a selection.

    Attributes
    ----------
    features
        They may hold more structures than the piece.
    rows
        Where in `features` the structures of the piece are, shape (n,).
    start, stop
        Which part of the selection it is.
    """

    features: Features
    rows: IntArray
    start: int
    stop: int


class FeatureStore:
    """Features of structures within a bound on memory.

    Parameters
    ----------
    structures
        At least one.
    architecture
        Fixes cutoffs and basis.
    dtype
        ``np.float32`` or ``np.float64``.
    memory_limit_MB
        Features that would take more are not kept; they are made when asked for.

    Attributes
    ----------
    n_atoms
        Atoms of every structure, shape (n_structures,).
    is_kept
        Whether the features stay in memory.
    max_neighbours
        Largest radial and angular neighbour counts of the features made so far.
    """

    def __init__(
        self,
        structures: Sequence[Structure],
        architecture: NepArchitecture,
        *,
        dtype: type,
        memory_limit_MB: float,
    ) -> None:
        self._structures = structures
        self._architecture = architecture
        self._dtype = dtype
        self.n_atoms = np.array([structure.n_atoms for structure in structures], dtype=np.int64)
        self.max_neighbours = (0, 0)
        step = -(-len(structures) // _N_SAMPLED) if self.n_atoms.sum() > _SMALL_SET else 1
        features = self._built(structures[::step])
        limit = memory_limit_MB * 1e6
        per_atom = features.n_bytes / features.n_atoms
        self.is_kept = per_atom * self.n_atoms.sum() <= limit
        if self.is_kept and step > 1:
            features = self._built(structures)
        self._kept = features if self.is_kept else None
        self._piece_atoms = int(
            _SAVED_SHARE * limit / (self._saved_bytes(features) + (0 if self.is_kept else per_atom))
        )

    def pieces(self, selected: IntArray) -> Iterator[Piece]:
        """Yield the features of selected structures in pieces of bounded size, in order."""
        ends = np.cumsum(self.n_atoms[selected])
        start = 0
        while start < len(selected):
            before = ends[start - 1] if start else 0
            stop = int(np.searchsorted(ends, before + self._piece_atoms, side="right"))
            stop = max(stop, start + 1)
            rows = selected[start:stop]
            if self._kept is not None:
                yield Piece(self._kept, rows, start, stop)
            else:
                features = self._built([self._structures[row] for row in rows])
                yield Piece(features, np.arange(stop - start), start, stop)
            start = stop

    def _built(self, structures: Sequence[Structure]) -> Features:
        """Make features, and take note of the largest neighbour counts seen so far."""
        features = build_features(structures, self._architecture, dtype=self._dtype)
        radial, angular = features.max_neighbours
        self.max_neighbours = (
            max(self.max_neighbours[0], radial),
            max(self.max_neighbours[1], angular),
        )
        return features

    def _saved_bytes(self, features: Features) -> float:
        """Return the memory per atom of what the first pass saves."""
        z = sizes_of(self._architecture)
        blocks = features.angular_start[-1] / features.n_atoms
        numbers = 3 * z.descriptors_pad + z.neurons_pad + 2 * z.n_angular * z.harmonics_pad
        return float(np.dtype(self._dtype).itemsize * (numbers + 48 * blocks * z.n_angular))


__all__ = ["FeatureStore", "Piece"]
