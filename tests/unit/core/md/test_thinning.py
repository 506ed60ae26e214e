"""Thinning keeps the best of even blocks, whatever the length of the stream."""

import numpy as np
import pytest

from nepal_flows.core.md.thinning import BestOfBlocks


def thinned(grades: np.ndarray, n_kept: int) -> list[int]:
    stream: BestOfBlocks[int] = BestOfBlocks(n_kept)
    for index, grade in enumerate(grades):
        stream.offer(float(grade), lambda index=index: index)
    assert stream.n_offered == len(grades)
    return list(stream.kept())


def test_few_items_are_all_kept_in_order() -> None:
    assert thinned(np.array([3.0, 1.0, 2.0]), 5) == [0, 1, 2]


def test_best_of_every_block_is_kept() -> None:
    grades = np.array([1.0, 5.0, 2.0, 2.0, 9.0, 0.0])
    assert thinned(grades, 2) == [1, 4]


@pytest.mark.parametrize("n", [79, 80, 81, 160, 1000, 12_345])
def test_long_streams_are_spread_and_hold_the_best_item(n: int) -> None:
    grades = np.random.default_rng(n).random(n)
    kept = thinned(grades, 5)
    assert len(kept) == 5
    assert kept == sorted(kept)
    assert int(grades.argmax()) in kept
    edges = np.linspace(0, n, 6)
    slack = 2 * n / (5 * 8) + 1
    for index, low, high in zip(kept, edges[:-1], edges[1:], strict=True):
        assert low - slack <= index <= high + slack


def test_only_kept_items_are_made_once_the_stream_is_long() -> None:
    made = []
    stream: BestOfBlocks[int] = BestOfBlocks(2)
    for index in range(10_000):
        stream.offer(-float(index), lambda index=index: made.append(index) or index)
    assert len(made) < 200


def test_nothing_is_kept_when_nothing_is_wanted() -> None:
    assert thinned(np.arange(10.0), 0) == []
