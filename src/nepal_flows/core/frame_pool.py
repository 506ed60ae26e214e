r"""Candidates graded against a growing active set, without rebuilding it.

Training and candidate rows are expressed in the places of the active set, :math:`C = B M`, one
column per active row and per out-of-span direction. Taking a frame makes its rows eligible; swaps
then bring the set back to dominance over everything known, which also replaces out-of-span
directions by rows that reach into them, and all other candidates are re-graded by the same update.
"""

from collections.abc import Sequence

import numpy as np

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.design_rows import DesignRows, row_maxima
from nepal_flows.core.extrapolation import frame_grades, grades_by_frame
from nepal_flows.core.graded_rows import row_grades, row_products
from nepal_flows.core.maxvol import improve
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.typing import FloatArray, IntArray


class FramePool:
    """Candidate frames and their grades against training rows and the frames taken so far.

    Parameters
    ----------
    active_set
        Subspace active set of the training frames.
    training, candidates
        Factors of the frames, of the active set's model.
    grades
        Grades of the candidates' atoms; computed where needed and not given.
    memory_limit_MB
        Bound on the coefficients. Beyond it, the rows with the lowest grades are left out:
        training rows first, and of a candidate never the atom with the largest grade.
    n_threads
        Threads over blocks of rows.
    """

    def __init__(
        self,
        active_set: ActiveSet,
        training: Sequence[ProjectionFactors],
        candidates: Sequence[ProjectionFactors],
        *,
        grades: Sequence[FloatArray] | None = None,
        memory_limit_MB: float = 2000.0,
        n_threads: int = 1,
    ) -> None:
        share = memory_limit_MB * 1e6 / len(active_set.members)
        self._tolerance = active_set.tolerance
        self._n_frames = len(candidates)
        self._elements = [
            _ElementPool(active_set, kind, training, candidates, grades, share, n_threads)
            for kind in range(len(active_set.members))
        ]

    def grades(self) -> FloatArray:
        """Return the present grade of every candidate frame, shape (n_frames,)."""
        grades = np.zeros(self._n_frames)
        for element in self._elements:
            of_candidates = element.frames >= 0
            frames, own = element.frames[of_candidates], element.grades[of_candidates]
            np.maximum.at(grades, frames, own)
        return grades

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Make the rows of some frames known, and re-grade everything."""
        for element in self._elements:
            element.take(np.asarray(frames, dtype=np.int64), self._tolerance)

    def n_active(self) -> IntArray:
        """Return how many of its rows each candidate frame has in the active set."""
        counts = np.zeros(self._n_frames, dtype=np.int64)
        for element in self._elements:
            held = element.holders[element.holders >= 0]
            frames = element.frames[held]
            np.add.at(counts, frames[frames >= 0], 1)
        return counts


class RebuiltPool:
    """The same for the published variant, whose pseudo-inverse is built afresh each time."""

    def __init__(
        self,
        active_set: ActiveSet,
        training: Sequence[ProjectionFactors],
        candidates: Sequence[ProjectionFactors],
        *,
        grades: Sequence[FloatArray] | None = None,  # noqa: ARG002 -- one call makes either pool
        memory_limit_MB: float = 2000.0,
        n_threads: int = 1,
    ) -> None:
        self._active_set = active_set
        self._known = list(training)
        self._candidates = list(candidates)
        self._n_taken = [0] * len(candidates)
        self._memory_limit_MB = memory_limit_MB
        self._n_threads = n_threads
        self._n_training = len(training)
        self._taken: list[int] = []

    def grades(self) -> FloatArray:
        """Return the present grade of every candidate frame, shape (n_frames,)."""
        return frame_grades(self._active_set, self._candidates, n_threads=self._n_threads)

    def take(self, frames: Sequence[int] | IntArray) -> None:
        """Make the rows of some frames known, and rebuild the active set."""
        for index in frames:
            self._known.append(self._candidates[int(index)])
            self._taken.append(int(index))
        self._active_set = build_active_set(
            self._known,
            self._active_set.elements,
            variant=self._active_set.variant,
            rcond=self._active_set.rcond,
            tolerance=self._active_set.tolerance,
            model_sha256=self._active_set.model_sha256,
            memory_limit_MB=self._memory_limit_MB,
            n_threads=self._n_threads,
        )

    def n_active(self) -> IntArray:
        """Return how many of its rows each candidate frame has in the active set."""
        counts = np.zeros(len(self._candidates), dtype=np.int64)
        for member in self._active_set.members:
            for frame in member.active_rows[:, 0]:
                if frame >= self._n_training:
                    counts[self._taken[int(frame) - self._n_training]] += 1
        return counts


class _ElementPool:
    """Rows of one element: ``frames`` is the candidate each belongs to, -1 for training rows."""

    def __init__(
        self,
        active_set: ActiveSet,
        kind: int,
        training: Sequence[ProjectionFactors],
        candidates: Sequence[ProjectionFactors],
        grades: Sequence[FloatArray] | None,
        memory: float,
        n_threads: int,
    ) -> None:
        self._n_threads = n_threads
        member = active_set.members[kind]
        rows = DesignRows([*training, *candidates], kind, gather_limit=0.2 * memory)
        n_training = rows.rows_before_frame(len(training))
        frames = np.where(rows.frames < len(training), -1, rows.frames - len(training))
        active = _row_numbers(rows, member.active_rows)
        kept = np.arange(rows.n_rows)
        capacity = max(int(0.7 * memory / (8.0 * rows.n_columns)), 1)
        if rows.n_rows > capacity:
            if grades is None:
                grades = grades_by_frame(active_set, candidates, n_threads=n_threads)
            own = [g[frame.types == kind] for g, frame in zip(grades, candidates, strict=True)]
            own_grades = np.concatenate([np.zeros(0), *own])
            kept = _kept_rows(rows, member.inverse, frames, own_grades, active, capacity, n_threads)
        self.frames = frames[kept]
        self.coefficients = row_products(rows, kept, member.inverse, n_threads=n_threads)
        self.grades = np.zeros(len(kept))
        row_maxima(self.coefficients, self.grades)
        self.holders = np.full(rows.n_columns, -1, dtype=np.int64)
        self.holders[: member.n_in] = np.searchsorted(kept, active)
        self.known = kept < n_training

    def take(self, frames: IntArray, tolerance: float) -> None:
        """Make the rows of some frames eligible and restore dominance."""
        newcomers = np.isin(self.frames, frames)
        if not newcomers.any():
            return
        self.known |= newcomers
        improve(
            self.coefficients,
            self.holders,
            tolerance=tolerance,
            eligible=self.known,
            grades=self.grades,
            n_threads=self._n_threads,
        )


def _row_numbers(rows: DesignRows, places: IntArray) -> IntArray:
    """Return the row numbers of (frame, atom) pairs."""
    numbers = np.zeros(len(places), dtype=np.int64)
    for k, (frame, atom) in enumerate(places):
        start, stop = rows.rows_before_frame(int(frame)), rows.rows_before_frame(int(frame) + 1)
        numbers[k] = start + int(np.searchsorted(rows.atoms[start:stop], atom))
    return numbers


def _kept_rows(
    rows: DesignRows,
    inverse: FloatArray,
    frames: IntArray,
    candidate_grades: FloatArray,
    active: IntArray,
    capacity: int,
    n_threads: int,
) -> IntArray:
    """Return the rows to keep: active ones, each candidate's worst, then by falling grade.

    Rows of candidates come before training rows, which are not graded unless some have room.
    """
    n_training = rows.n_rows - len(candidate_grades)
    grades = np.zeros(rows.n_rows)
    grades[n_training:] = candidate_grades
    if len(candidate_grades) + len(active) < capacity:
        training = np.arange(n_training)
        grades[training] = row_grades(rows, inverse, which=training, n_threads=n_threads)
    priority = grades + np.where(frames >= 0, 1.0, 0.0)
    by_grade = np.argsort(-grades, kind="stable")
    _, first = np.unique(frames[by_grade], return_index=True)
    worst = by_grade[first]
    priority[worst[frames[worst] >= 0]] = np.inf
    priority[active] = np.inf
    needed = int(np.isinf(priority).sum())
    return np.sort(np.argsort(-priority, kind="stable")[: max(capacity, needed)])


__all__ = ["FramePool", "RebuiltPool"]
