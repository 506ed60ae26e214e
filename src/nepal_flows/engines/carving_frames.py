"""Fragments around the least known atoms of frames that stream by."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from nepal_flows.core.carving.carve import Carving, carve
from nepal_flows.core.carving.centres import regraded_centres
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.nep.model import NepModel
from nepal_flows.engines.carving_centres import (
    Centre,
    CentrePool,
    CentreRules,
    frame_centres,
    known_grades,
)
from nepal_flows.engines.input_frames import Progress
from nepal_flows.errors import CarvingError
from nepal_flows.io.extxyz_stream import StreamedFrame
from nepal_flows.typing import FloatArray

T = TypeVar("T")
R = TypeVar("R")

POOL_PER_FRAGMENT = 8
"""Centres kept while frames stream by, for every fragment that is wanted."""


@dataclass(frozen=True, eq=False)
class CarvedFragment:
    """One centre and what became of it.

    Attributes
    ----------
    centre
        The atom.
    grade_when_chosen
        Its grade when its turn came, with the fragments chosen before it.
    carving
        The fragment; None where none could be cut.
    reason
        Why there is none, or why it is not accepted; None where it is.
    wall_s
        Time that carving it took, s.
    """

    centre: Centre
    grade_when_chosen: float
    carving: Carving | None
    reason: str | None
    wall_s: float


@dataclass(frozen=True, eq=False)
class CarvedFrames:
    """What carving made of many frames.

    Attributes
    ----------
    fragments
        What became of every chosen centre, in the order of choice.
    n_frames, n_unknown
        Frames read, and atoms in them above the threshold.
    n_centres
        Centres that were apart from each other.
    refused
        Centres that were not carved, by reason.
    """

    fragments: tuple[CarvedFragment, ...]
    n_frames: int
    n_unknown: int
    n_centres: int
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def accepted(self) -> tuple[CarvedFragment, ...]:
        """The fragments to be labelled."""
        return tuple(f for f in self.fragments if f.carving is not None and f.reason is None)


def carve_frames(
    frames: Iterable[StreamedFrame],
    model: NepModel,
    inverses: FloatArray,
    *,
    rules: CentreRules,
    options: CarvingOptions,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> CarvedFrames:
    """Return fragments around the least known atoms of graded frames.

    Parameters
    ----------
    frames
        One after the other; none is kept.
    model
        The potential.
    inverses
        M of all types, shape (n_types, d, d).
    rules
        Which atoms.
    options
        How.
    seed
        For the rattling.
    n_threads
        Threads, over centres.
    progress
        Called after every fragment.

    Raises
    ------
    CarvingError
        If the grades of a frame are not this model's.
    """
    pool = CentrePool(POOL_PER_FRAGMENT * rules.budget)
    refused: dict[str, int] = {}
    n_frames = n_unknown = n_centres = 0
    for frame in frames:
        n_frames += 1
        n_unknown += int((known_grades(frame) >= rules.threshold).sum())
        for found in frame_centres(frame, model, inverses, rules, options):
            n_centres += 1
            if isinstance(found, str):
                refused[found] = refused.get(found, 0) + 1
            else:
                pool.add(found)
    centres = pool.centres()
    choice = regraded_centres(
        [centre.surroundings for centre in centres],
        inverses,
        budget=rules.budget,
        threshold=rules.threshold,
    )
    n_covered = len(centres) - len(choice.chosen)
    n_covered -= int((np.delete(choice.remaining, choice.chosen) >= rules.threshold).sum())
    if n_covered:
        refused["covered by the fragments chosen"] = n_covered
    n_left = pool.n_dropped + len(centres) - len(choice.chosen) - n_covered
    if n_left:
        refused["the budget is spent"] = n_left

    def carved(item: tuple[int, tuple[int, float]]) -> CarvedFragment:
        place, (number, grade) = item
        rng = np.random.default_rng([seed, place])
        return _carved(centres[number], float(grade), model, inverses, options, rng)

    order = list(enumerate(zip(choice.chosen, choice.grades_when_chosen, strict=True)))
    fragments = []
    for fragment in _mapped(carved, order, n_threads):
        fragments.append(fragment)
        if progress is not None:
            progress(len(fragments), len(order))
    return CarvedFrames(tuple(fragments), n_frames, n_unknown, n_centres, refused)


def _carved(
    centre: Centre,
    grade: float,
    model: NepModel,
    inverses: FloatArray,
    options: CarvingOptions,
    rng: np.random.Generator,
) -> CarvedFragment:
    began = time.monotonic()
    try:
        carving = carve(centre.region.within, model, inverses, options=options, rng=rng)
    except CarvingError as error:
        return CarvedFragment(centre, grade, None, str(error), time.monotonic() - began)
    reason = "; ".join(carving.shortcomings) or None
    return CarvedFragment(centre, grade, carving, reason, time.monotonic() - began)


def _mapped(function: Callable[[T], R], items: Sequence[T], n_threads: int) -> Iterator[R]:
    """Yield the function's values in order, on several threads."""
    if n_threads <= 1 or len(items) < 2:
        yield from map(function, items)
        return
    yield function(items[0])  # compiled kernels are loaded once, not by every thread
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(function, items[1:])


__all__ = ["CarvedFragment", "CarvedFrames", "carve_frames"]
