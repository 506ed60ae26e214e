"""Candidate frames scored by R against a posterior that learns the frames taken so far.

Features are made anew at every look, so that memory does not grow with the number of candidates.
"""

from collections.abc import Sequence

import numpy as np

from nepal_flows.core.bayes.bars import frame_bars
from nepal_flows.core.bayes.evidence import Posterior
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.scoring import atom_scores
from nepal_flows.core.structure import Structure
from nepal_flows.typing import FloatArray, IntArray


class PosteriorPool:
    """Candidate frames and their scores.

    Parameters
    ----------
    posterior, model
        Of the training frames.
    structures
        The candidates.
    wanted
        As for :func:`nepal_flows.core.scoring.atom_scores`.
    n_threads
        Threads over candidates.
    """

    def __init__(
        self,
        posterior: Posterior,
        model: NepModel,
        structures: Sequence[Structure],
        *,
        wanted: float = 0.0,
        n_threads: int = 1,
    ) -> None:
        self._posterior = posterior
        self._model = model
        self._structures = structures
        self._wanted = wanted
        self._n_threads = n_threads

    def scores_by_frame(self) -> list[FloatArray]:
        """Return the present scores of the atoms of every candidate."""

        def scores(structure: Structure) -> FloatArray:
            return atom_scores(frame_bars(self._posterior, self._model, structure), self._wanted)

        return map_in_threads(scores, self._structures, self._n_threads)

    def part(self, places: Sequence[int]) -> "PosteriorPool":
        """Return a pool of some of the candidates."""
        return PosteriorPool(
            self._posterior,
            self._model,
            [self._structures[place] for place in places],
            wanted=self._wanted,
            n_threads=self._n_threads,
        )

    def grades(self) -> FloatArray:
        """Return the present score of every candidate, the largest of its atoms'."""
        return np.array([own.max(initial=0.0) for own in self.scores_by_frame()])

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Let the posterior learn some frames, as if they were labelled."""
        for place in frames:
            structure = self._structures[place]
            features = frame_features(self._model, structure, layer=self._posterior.layer)
            per_atom = 1.0 / structure.n_atoms
            self._posterior = self._posterior.with_rows(
                (per_atom * features.energy[None], features.forces, per_atom * features.virial)
            )


__all__ = ["PosteriorPool"]
