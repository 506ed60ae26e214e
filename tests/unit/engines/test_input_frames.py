"""What is done with the frames of a file keeps their order, counts, and names them in errors."""

import numpy as np
import pytest

from nepal_flows.core.structure import Structure
from nepal_flows.engines.input_frames import by_frame, repeats_remark
from nepal_flows.errors import StructureError


def frames(n):
    return [Structure(np.array([29]), np.full((1, 3), float(k)), 9.0 * np.eye(3)) for k in range(n)]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_order_is_kept_and_every_frame_counted(n_threads):
    seen = []
    values = by_frame(
        lambda structure: structure.positions[0, 0] ** 2,
        frames(9),
        source="x.xyz",
        n_threads=n_threads,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert values == [k * k for k in range(9)]
    assert seen == [(k, 9) for k in range(1, 10)]


@pytest.mark.parametrize("n_threads", [1, 3])
def test_error_keeps_its_class_and_names_the_frame(n_threads):
    def fails(structure):
        if structure.positions[0, 0] == 4.0:
            raise StructureError("Too odd.")

    with pytest.raises(StructureError, match=r"Frame 4 of `x\.xyz`: Too odd"):
        by_frame(fails, frames(6), source="x.xyz", n_threads=n_threads)


def test_remark_names_a_few_repeats_and_counts_the_rest():
    assert repeats_remark((), source="x") is None
    remark = repeats_remark(tuple((k, k + 9) for k in range(7)), source="x", counts="once")
    assert "0 = 9" in remark
    assert "and 2 more; it counts once" in remark
