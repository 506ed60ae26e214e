"""Frames of a user's file: errors name the file and the frame, repeats are told or refused."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.repeats import contradiction, repeated_structures
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import LabelledDataError, NepalError

Progress = Callable[[int, int], None]
"""Called with the number done and the number in all."""

Pairs = tuple[tuple[int, int], ...]
"""Indices (first, repeated) of frames with one structure."""

_N_NAMED = 5

T = TypeVar("T")


def by_frame(
    function: Callable[[Structure], T],
    structures: Sequence[Structure],
    *,
    source: str | Path,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> list[T]:
    """Return the function's value for every structure, in order, on several threads.

    Parameters
    ----------
    function
        What is done with a structure.
    structures
        The frames of a file.
    source
        The file: an error names it and the frame.
    n_threads
        Threads, over structures.
    progress
        Called after every structure.

    Raises
    ------
    NepalError
        What the function raises, with the file and the frame in front.
    """

    def named(item: tuple[int, Structure]) -> T:
        index, structure = item
        try:
            return function(structure)
        except NepalError as error:
            raise type(error)(f"Frame {index} of `{source}`: {error}") from error

    def counted(values: Iterable[T]) -> list[T]:
        results = []
        for value in values:
            results.append(value)
            if progress is not None:
                progress(len(results), len(structures))
        return results

    items = list(enumerate(structures))
    if n_threads <= 1 or len(items) < 2:
        return counted(map(named, items))
    first = named(items[0])  # compiled kernels are loaded once, not by every thread
    with ThreadPoolExecutor(n_threads) as pool:
        return counted(itertools.chain([first], pool.map(named, items[1:])))


def require_elements(
    architecture: NepArchitecture, structures: Sequence[Structure], *, source: str | Path
) -> None:
    """Raise unless a model knows the elements of all structures.

    Raises
    ------
    ModelError
        If it does not; the message names the file and the frame.
    """
    by_frame(lambda structure: architecture.types_of(structure.numbers), structures, source=source)


def repeated_frames(
    structures: Sequence[Structure],
    labels: Mapping[int, LabelledStructure],
    *,
    source: str | Path,
) -> Pairs:
    """Return the pairs (first, repeated) of frames with one structure.

    Parameters
    ----------
    structures
        The frames of a file.
    labels
        Their labels by index, as far as they have any.
    source
        The file.

    Raises
    ------
    LabelledDataError
        If two labels of one structure contradict each other; the message names both frames.
    """
    pairs = repeated_structures(structures)
    for first, second in pairs:
        if first not in labels or second not in labels:
            continue
        reason = contradiction(labels[first], labels[second])
        if reason is not None:
            raise LabelledDataError(
                f"Frames {first} and {second} of `{source}` are the same structure, but {reason}. "
                "Labels of one physics agree: drop the wrong one, and do not mix codes or settings."
            )
    return tuple(pairs)


def repeats_remark(
    pairs: Pairs, *, source: str | Path, counts: Literal["once", "twice"] = "twice"
) -> str | None:
    """Return a remark that names repeated frames; None where there are none.

    Parameters
    ----------
    pairs
        Frames with one structure, as (first, repeated).
    source
        Their file.
    counts
        How often such a structure counts in what follows.

    Examples
    --------
    >>> repeats_remark(((0, 2),), source="train.xyz")
    'one structure, several frames of `train.xyz`: 0 = 2; it counts twice'
    """
    if not pairs:
        return None
    named = ", ".join(f"{first} = {second}" for first, second in pairs[:_N_NAMED])
    named += f" and {len(pairs) - _N_NAMED} more" if len(pairs) > _N_NAMED else ""
    return f"one structure, several frames of `{source}`: {named}; it counts {counts}"


__all__ = [
    "Pairs",
    "Progress",
    "by_frame",
    "repeated_frames",
    "repeats_remark",
    "require_elements",
]
