"""Which candidate frames to label: greedy by grade, re-graded after every choice.

The candidate with the largest grade is taken, its rows join the active set, the others are graded
again, until none exceeds the threshold or the budget is spent. The budget keeps the best frames,
never a random subset. Frames above the ceiling wait: what the frames taken before brought within
reach may still be taken, the rest is refused as exploded. Every candidate ends with a decision, its
reason and the numbers behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.decisions import Decision, DecisionBook, Reason, Selection
from nepal_flows.core.duplicates import KnownFrames
from nepal_flows.core.frame_pool import FramePool, RebuiltPool
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.score_pools import ScorePool
from nepal_flows.errors import InputError
from nepal_flows.typing import BoolArray, FloatArray, IntArray

Method = Literal["greedy", "farthest", "maxvol"]


def select_frames(
    active_set: ActiveSet,
    training: Sequence[ProjectionFactors],
    candidates: Sequence[ProjectionFactors],
    *,
    budget: int,
    threshold: float = 5.0,
    ceiling: float | None = 1000.0,
    gate_reasons: Mapping[int, str] | None = None,
    also_labelled: Sequence[ProjectionFactors] = (),
    duplicate_tolerance: float = 0.001,
    method: Method = "greedy",
    scores: ScorePool | None = None,
    memory_limit_MB: float = 2000.0,
    n_threads: int = 1,
) -> Selection:
    """Return which candidates to label.

    Parameters
    ----------
    active_set
        Active set of the training frames.
    training
        Factors of the frames it was built from, in the same order.
    candidates
        Factors of the candidate frames, of the same model.
    budget
        Most frames to select.
    threshold
        Candidates are taken while the largest grade exceeds this.
    ceiling
        Candidates are not taken while their grade exceeds this; None lets all pass. While the
        rank of an element is not saturated, grades have no scale: then, where nothing else
        exceeds the threshold, the frame that exceeds the ceiling least is taken.
    gate_reasons
        Candidates that the physics gate refused, by index, with its words.
    also_labelled
        Labelled frames that are not trained on (hold-out, quarantine), for near-duplicates; they
        are numbered after the training frames.
    duplicate_tolerance
        Distance in scaled descriptors up to which frames count as near-duplicates.
    method
        ``greedy``; ``farthest``: those above the threshold, farthest first by mean descriptor
        from everything labelled and selected; ``maxvol``: those with most rows in the active
        set of training frames and candidates together.
    scores
        The same candidates as a :class:`ScorePool`: their scores are compared with threshold and
        ceiling, and looked at again, instead of the grade.
    memory_limit_MB
        Bound on the working memory.
    n_threads
        Threads over blocks of rows.

    Raises
    ------
    InputError
        If the budget is negative, the threshold is not positive, or the method is unknown or rests
        on the active set where scores are given.
    ActiveSetError
        If the active set does not fit the factors.
    """
    _check_options(budget, threshold, duplicate_tolerance, method)
    if method == "maxvol" and scores is not None:
        raise InputError("`method` is 'maxvol', which knows no `scores`; choose 'greedy'.")
    book = DecisionBook(
        active_set, candidates, gate_reasons or {}, scores=scores, n_threads=n_threads
    )
    known = KnownFrames([*training, *also_labelled])
    pool_class = FramePool if active_set.variant == "subspace" else RebuiltPool
    survivors = [i for i in range(len(candidates)) if book.open[i]]

    def pool() -> FramePool | RebuiltPool:
        return pool_class(
            active_set,
            training,
            [candidates[i] for i in survivors],
            grades=[book.atom_grades[i] for i in survivors],
            memory_limit_MB=memory_limit_MB,
            n_threads=n_threads,
        )

    places = np.array(survivors, dtype=np.int64)
    limits = _Limits(
        budget=budget,
        threshold=threshold,
        ceiling=np.inf if ceiling is None else ceiling,
        may_bridge=not all(member.is_saturated for member in active_set.members),
        duplicate_tolerance=duplicate_tolerance,
    )
    scored = pool() if scores is None else scores.part(survivors)
    course = _Course(book, scored, places, known, limits)
    if method == "greedy":
        _choose_greedily(course)
    elif method == "farthest":
        _choose_farthest(course, [*training, *also_labelled])
    else:
        _choose_active(course, pool())
    largest = course.largest_open_grade()
    course.close()
    return Selection(tuple(book.decisions()), tuple(book.selected), largest)


@dataclass(frozen=True)
class _Limits:
    budget: int
    threshold: float
    ceiling: float
    may_bridge: bool
    duplicate_tolerance: float


class _Course:
    """One selection under way: the book, the pool of survivors, and what is known."""

    def __init__(
        self,
        book: DecisionBook,
        pool: FramePool | RebuiltPool | ScorePool,
        survivors: IntArray,
        known: KnownFrames,
        limits: _Limits,
    ) -> None:
        self.book = book
        self.pool = pool
        self.survivors = survivors
        self.grades = pool.grades() if len(survivors) else np.zeros(0)
        self._known = known
        self._n_labelled = len(known)
        self._selected_twins: list[int] = []
        self.limits = limits

    @property
    def budget_left(self) -> int:
        """How many more may be selected."""
        return self.limits.budget - len(self.book.selected)

    def open_grades(self) -> FloatArray:
        """Return the present grades of survivors, -1 where a decision fell."""
        return np.where(self.book.open[self.survivors], self.grades, -1.0)

    def eligible(self) -> BoolArray:
        """Return which survivors exceed the threshold and not the ceiling."""
        grades = self.open_grades()
        return (grades > self.limits.threshold) & (grades <= self.limits.ceiling)

    def largest_open_grade(self) -> float:
        grades = self.open_grades()
        return float(grades[grades <= self.limits.ceiling].max(initial=0.0))

    def refuse_if_repeated(self, place: int) -> bool:
        """Refuse a survivor when it nearly repeats a known frame; return whether it does."""
        index = int(self.survivors[place])
        tolerance = self.limits.duplicate_tolerance
        twin = self._known.near_duplicate(self.book.candidates[index], tolerance)
        if twin is None:
            return False
        is_labelled = twin.index < self._n_labelled
        number = twin.index if is_labelled else self._selected_twins[twin.index - self._n_labelled]
        which = f"labelled frame {number}" if is_labelled else f"selected candidate {number}"
        self.book.refuse(
            index,
            "near_duplicate_of_labelled" if is_labelled else "near_duplicate_of_selected",
            f"differs from {which} by {twin.distance:.2g} in scaled descriptors",
            grade=float(self.grades[place]),
            twin=number,
            distance=twin.distance,
        )
        return True

    def regrade(self, places: Sequence[int]) -> None:
        """Let the rows of some survivors join the active set and grade all again."""
        if len(places):
            self.pool.take(places)
            self.grades = self.pool.grades()

    def select(self, place: int, detail: str) -> None:
        """Select a survivor."""
        index = int(self.survivors[place])
        self.book.select(index, detail, float(self.grades[place]))
        self._known.add(self.book.candidates[index])
        self._selected_twins.append(index)

    def close(self) -> None:
        """Decide about every survivor that is left."""
        threshold, ceiling = self.limits.threshold, self.limits.ceiling
        for place in np.flatnonzero(self.book.open[self.survivors]):
            index, grade = int(self.survivors[place]), float(self.grades[place])
            first = self.book.grades[index]
            if first <= threshold:
                words = f"grade {first:.4g} does not exceed {threshold:g}"
                self.book.refuse(index, "below_threshold", words, grade=grade)
            elif grade <= threshold:
                words = f"grade fell from {first:.4g} to {grade:.4g} with the frames selected"
                self.book.refuse(index, "covered", words, grade=grade)
            elif grade > ceiling:
                words = f"grade {grade:.4g} exceeds the ceiling {ceiling:g}"
                self.book.refuse(index, "above_ceiling", words, grade=grade)
            else:
                words = f"grade {grade:.4g}, but the budget of {len(self.book.selected)} is spent"
                self.book.refuse(index, "over_budget", words, grade=grade)


def _choose_greedily(course: _Course) -> None:
    while course.budget_left > 0 and len(course.survivors):
        grades = course.open_grades()
        eligible = course.eligible()
        if not eligible.any():
            place = _bridge(course)
            if place is None:
                return
        else:
            place = int(np.where(eligible, grades, -1.0).argmax())
            if course.refuse_if_repeated(place):
                continue
            course.select(place, f"largest grade, {grades[place]:.4g}")
        course.regrade([place])


def _bridge(course: _Course) -> int | None:
    """Select the survivor that exceeds the ceiling least; None where there is none to take."""
    while course.limits.may_bridge:
        grades = course.open_grades()
        beyond = grades > course.limits.ceiling
        if not beyond.any():
            return None
        place = int(np.where(beyond, grades, np.inf).argmin())
        if not course.refuse_if_repeated(place):
            words = f"grade {grades[place]:.4g}, the least above the ceiling: nothing is closer"
            course.select(place, words)
            return place
    return None


def _choose_farthest(course: _Course, labelled: Sequence[ProjectionFactors]) -> None:
    marks = _mean_descriptors([*labelled, *course.book.candidates], len(course.book.elements))
    known, own = marks[: len(labelled)], marks[len(labelled) :][course.survivors]
    distances = np.full(len(own), np.inf)
    for mark in known:
        distances = np.minimum(distances, np.linalg.norm(own - mark, axis=1))
    chosen: list[int] = []
    if course.budget_left > 0 and not course.eligible().any():
        bridge = _bridge(course)
        chosen += [] if bridge is None else [bridge]
    while course.budget_left > 0 and course.eligible().any():
        place = int(np.where(course.eligible(), distances, -1.0).argmax())
        if not course.refuse_if_repeated(place):
            words = f"farthest mean descriptor, {distances[place]:.3g}"
            course.select(place, words)
            chosen.append(place)
            distances = np.minimum(distances, np.linalg.norm(own - own[place], axis=1))
    course.regrade(chosen)


def _choose_active(course: _Course, joint: FramePool | RebuiltPool) -> None:
    eligible = np.flatnonzero(course.eligible())
    if len(eligible) == 0:
        return
    joint.take(eligible)
    counts = joint.n_active()
    chosen: list[int] = []
    for place in sorted(eligible.tolist(), key=lambda k: (-counts[k], -course.grades[k], k)):
        index = int(course.survivors[place])
        if counts[place] == 0:
            words = "none of its rows is in the joint active set"
            course.book.refuse(index, "not_in_active_set", words)
        elif course.budget_left > 0 and not course.refuse_if_repeated(place):
            course.select(place, f"{counts[place]} rows in the joint active set")
            chosen.append(place)
    course.regrade(chosen)


def _mean_descriptors(frames: Sequence[ProjectionFactors], n_types: int) -> FloatArray:
    """Return mean descriptors per element, zeros where it is absent, shape (n, T * D)."""
    means = np.zeros((len(frames), n_types, frames[0].y.shape[1] if frames else 0))
    for k, frame in enumerate(frames):
        for kind in np.unique(frame.types):
            means[k, kind] = frame.y[frame.types == kind].mean(axis=0)
    return means.reshape(len(frames), -1)


def _check_options(budget: int, threshold: float, duplicate_tolerance: float, method: str) -> None:
    if budget < 0:
        raise InputError(f"`budget` is {budget}; give the number of frames to label, at least 0.")
    if not threshold > 0.0:
        raise InputError(f"`threshold` is {threshold}; give a positive grade, as 5.")
    if not duplicate_tolerance >= 0.0:
        raise InputError(f"`duplicate_tolerance` is {duplicate_tolerance}; give at least 0.")
    if method not in ("greedy", "farthest", "maxvol"):
        raise InputError(f"`method` is {method!r}; expected 'greedy', 'farthest' or 'maxvol'.")


__all__ = ["Decision", "Method", "Reason", "Selection", "select_frames"]
