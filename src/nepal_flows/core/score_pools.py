"""Candidate frames and their scores, whichever criterion scores them, and several of them by OR."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.extrapolation import grades_by_frame
from nepal_flows.core.frame_pool import FramePool, RebuiltPool
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.scoring import BarSource, Scale, atom_scores
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray, IntArray


class ScorePool(Protocol):
    """Candidate frames and their scores; what is learnt of frames taken is up to the criterion."""

    def scores_by_frame(self) -> list[FloatArray]:
        """Return the present scores of the atoms of every candidate."""
        ...

    def part(self, places: Sequence[int]) -> "ScorePool":
        """Return a pool of some of the candidates."""
        ...

    def grades(self) -> FloatArray:
        """Return the present score of every candidate, the largest of its atoms'."""
        ...

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Count some frames as labelled."""
        ...


class FixedPool:
    """Candidates with scores that stay: a committee learns of a frame only by being trained on it.

    Parameters
    ----------
    scores
        Of the atoms of every candidate.
    """

    def __init__(self, scores: Sequence[FloatArray]) -> None:
        self._scores = list(scores)

    @classmethod
    def of_bars(
        cls,
        source: BarSource,
        structures: Sequence[Structure],
        *,
        wanted: float = 0.0,
        n_threads: int = 1,
    ) -> "FixedPool":
        """Return the candidates scored by R of their error bars.

        Parameters
        ----------
        source, structures
            What gives the bars, and the candidates.
        wanted
            As for :func:`nepal_flows.core.scoring.atom_scores`.
        n_threads
            Threads over candidates.
        """
        return cls(
            map_in_threads(
                lambda structure: atom_scores(source.bars(structure), wanted), structures, n_threads
            )
        )

    def scores_by_frame(self) -> list[FloatArray]:
        """Return the scores of the atoms of every candidate."""
        return self._scores

    def part(self, places: Sequence[int]) -> "FixedPool":
        """Return a pool of some of the candidates."""
        return FixedPool([self._scores[place] for place in places])

    def grades(self) -> FloatArray:
        """Return the score of every candidate, the largest of its atoms'."""
        return np.array([own.max(initial=0.0) for own in self._scores])

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Change nothing."""


class GradePool:
    """Candidates scored by the extrapolation grade, as one of several criteria.

    Parameters
    ----------
    active_set, training, candidates
        As for :class:`FramePool`.
    memory_limit_MB, n_threads
        As for :class:`FramePool`.
    """

    def __init__(
        self,
        active_set: ActiveSet,
        training: Sequence[ProjectionFactors],
        candidates: Sequence[ProjectionFactors],
        *,
        memory_limit_MB: float = 2000.0,
        n_threads: int = 1,
    ) -> None:
        self._active_set = active_set
        self._training = training
        self._candidates = candidates
        self._memory_limit_MB = memory_limit_MB
        self._n_threads = n_threads
        self._pool: FramePool | RebuiltPool | None = None

    def scores_by_frame(self) -> list[FloatArray]:
        """Return the grades of the atoms of every candidate with the active set as given."""
        return grades_by_frame(self._active_set, self._candidates, n_threads=self._n_threads)

    def part(self, places: Sequence[int]) -> "GradePool":
        """Return a pool of some of the candidates."""
        return GradePool(
            self._active_set,
            self._training,
            [self._candidates[place] for place in places],
            memory_limit_MB=self._memory_limit_MB,
            n_threads=self._n_threads,
        )

    def grades(self) -> FloatArray:
        """Return the present grade of every candidate."""
        return self._growing().grades()

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Let the rows of some frames join the active set."""
        self._growing().take(np.asarray(frames, dtype=np.int64))

    def _growing(self) -> FramePool | RebuiltPool:
        if self._pool is None:
            pool_class = FramePool if self._active_set.variant == "subspace" else RebuiltPool
            self._pool = pool_class(
                self._active_set,
                self._training,
                self._candidates,
                memory_limit_MB=self._memory_limit_MB,
                n_threads=self._n_threads,
            )
        return self._pool


class JointPool:
    """The same candidates under several criteria: an atom's level is the largest of its scores'.

    Parameters
    ----------
    pools
        One for every criterion, of the same candidates in the same order.
    scales
        Of their scores.

    Raises
    ------
    InputError
        If there is no pool, or not one scale for each.
    """

    def __init__(self, pools: Sequence[ScorePool], scales: Sequence[Scale]) -> None:
        if not pools or len(pools) != len(scales):
            raise InputError(
                f"There are {len(pools)} pools and {len(scales)} scales; give one of each for "
                "every criterion."
            )
        self._pools = list(pools)
        self._scales = list(scales)

    def scores_by_frame(self) -> list[FloatArray]:
        """Return the present levels of the atoms of every candidate."""
        levels = [
            [scale.levels(own) for own in pool.scores_by_frame()]
            for pool, scale in zip(self._pools, self._scales, strict=True)
        ]
        return [np.max(own, axis=0) for own in zip(*levels, strict=True)]

    def part(self, places: Sequence[int]) -> "JointPool":
        """Return a pool of some of the candidates."""
        return JointPool([pool.part(places) for pool in self._pools], self._scales)

    def grades(self) -> FloatArray:
        """Return the present level of every candidate, the largest of its atoms'."""
        levels = [
            scale.levels(pool.grades())
            for pool, scale in zip(self._pools, self._scales, strict=True)
        ]
        return np.max(levels, axis=0)

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Count some frames as labelled, for every criterion in its own way."""
        for pool in self._pools:
            pool.take(frames)


__all__ = ["FixedPool", "GradePool", "JointPool", "ScorePool"]
