"""Thinning a stream of graded frames to a few that are spread over it."""

from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_ENTRIES_PER_KEPT = 16


class BestOfBlocks(Generic[Item]):
    """Keep at most `n_kept` of the items offered: the highest graded of as many even blocks.

    The items are cut, in the order in which they were offered, into `n_kept` consecutive blocks of
    nearly equal length, and each block is represented by its highest grade (the earliest among
    equals). Memory is bounded: in long streams blocks are built from runs of 2, 4, 8 .. items that
    were already reduced to their best, so block ends are rounded to such runs.

    Parameters
    ----------
    n_kept
        Largest number of items to keep.
    """

    def __init__(self, n_kept: int) -> None:
        self._n_kept = n_kept
        self._stride = 1
        self._in_last = 0
        self._entries: list[tuple[float, Item]] = []
        self.n_offered = 0

    def offer(self, grade: float, make: Callable[[], Item]) -> None:
        """Take note of an item; ``make`` is called only if it is to be kept for now."""
        self.n_offered += 1
        if self._n_kept < 1:
            return
        if self._in_last in (0, self._stride):
            self._entries.append((grade, make()))
            self._in_last = 0
        elif grade > self._entries[-1][0]:
            self._entries[-1] = (grade, make())
        self._in_last += 1
        is_full = len(self._entries) == _ENTRIES_PER_KEPT * self._n_kept
        if is_full and self._in_last == self._stride:
            pairs = zip(self._entries[0::2], self._entries[1::2], strict=True)
            self._entries = [second if second[0] > first[0] else first for first, second in pairs]
            self._stride *= 2
            self._in_last = self._stride

    def kept(self) -> tuple[Item, ...]:
        """Return the representatives of the blocks, in the order in which they were offered."""
        n_blocks = min(self._n_kept, len(self._entries))
        chosen = []
        for block in range(n_blocks):
            first = block * len(self._entries) // n_blocks
            last = (block + 1) * len(self._entries) // n_blocks
            chosen.append(max(self._entries[first:last], key=lambda entry: entry[0])[1])
        return tuple(chosen)


__all__ = ["BestOfBlocks"]
