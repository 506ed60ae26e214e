from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.errors import ActiveSetError
from nepal_flows.io.asi import (
    inverses_by_type,
    pack_active_set,
    read_asi,
    require_elements,
    unpack_active_set,
    write_asi,
)


def frames(n: int, seed: int = 0) -> list[ProjectionFactors]:
    rng = np.random.default_rng(seed)
    w0, w1 = rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 3))
    made = []
    for _ in range(n):
        types, y = rng.integers(0, 2, 10), rng.random((10, 4))
        t = np.tanh(np.einsum("ind,id->in", w0[types], y))
        made.append(ProjectionFactors(types, y, w1[types] * (1 - t**2), t))
    return made


@pytest.fixture
def active_set() -> ActiveSet:
    return build_active_set(frames(6), ["Cu", "Au"], model_sha256="c" * 64)


def test_text_is_as_gpumd_reads_it(active_set: ActiveSet, tmp_path: Path) -> None:
    path = tmp_path / "active_set.asi"
    write_asi(active_set, path)
    lines = path.read_text().splitlines()
    d = active_set.n_projection
    assert lines[0] == f"Cu {d} {d}"
    assert lines[1 + d * d] == f"Au {d} {d}"
    assert len(lines) == 2 * (1 + d * d)
    values = np.array([float(line) for line in lines[1 : 1 + d * d]])
    np.testing.assert_array_equal(values.reshape(d, d), active_set.members[0].inverse)
    assert list(tmp_path.iterdir()) == [path]


def test_file_gives_the_same_grades(active_set: ActiveSet, tmp_path: Path) -> None:
    path = tmp_path / "active_set.asi"
    write_asi(active_set, path)
    inverses = inverses_by_type(read_asi(path), ["Cu", "Au"])
    for frame in frames(3, seed=5):
        np.testing.assert_array_equal(
            structure_grades(inverses, frame), structure_grades(active_set, frame)
        )


def test_types_follow_the_model_not_the_file(active_set: ActiveSet, tmp_path: Path) -> None:
    path = tmp_path / "active_set.asi"
    write_asi(active_set, path)
    swapped = inverses_by_type(read_asi(path), ["Au", "Cu"])
    np.testing.assert_array_equal(swapped, active_set.inverses[::-1])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_never_written(bad: float, tmp_path: Path) -> None:
    path = tmp_path / "active_set.asi"
    with pytest.raises(ActiveSetError, match="Cu to be written holds NaN or infinity"):
        write_asi({"Cu": np.array([[1.0, bad], [0.0, 1.0]])}, path)
    assert not path.exists()


def test_matrices_of_other_shapes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ActiveSetError, match="square"):
        write_asi({"Cu": np.ones((2, 3))}, tmp_path / "x.asi")
    with pytest.raises(ActiveSetError, match="one size"):
        write_asi({"Cu": np.eye(2), "Au": np.eye(3)}, tmp_path / "x.asi")
    with pytest.raises(ActiveSetError, match="not a chemical element"):
        write_asi({"Qq": np.eye(2)}, tmp_path / "x.asi")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no element"),
        ("Cu 2 2\n1\n0\n0\n", "not all there"),
        ("Cu 2 2\n1\n0\nzero\n1\n", "not all numbers"),
        ("Cu 2 2\n1\n0\n0\nnan\n", "NaN or infinity"),
        ("Cu 2 3\n1\n0\n0\n1\n0\n0\n", "El d d"),
        ("Cu 1 1\n1\nCu 1 1\n1\n", "twice"),
        ("nonsense\n", "El d d"),
        ("Cu 1 1\n1\n2\n", "El d d"),
    ],
)
def test_damaged_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.asi"
    path.write_text(text)
    with pytest.raises(ActiveSetError, match=words):
        read_asi(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ActiveSetError, match="cannot be read"):
        read_asi(tmp_path / "none.asi")


def test_blank_lines_and_spaces_are_harmless(tmp_path: Path) -> None:
    path = tmp_path / "spaced.asi"
    path.write_text("\nCu 1 1 \n 2.5 \n\nAu 1 1\n-1e-3\n\n")
    found = read_asi(path)
    assert {symbol: matrix.tolist() for symbol, matrix in found.items()} == {
        "Cu": [[2.5]],
        "Au": [[-0.001]],
    }


def test_elements_that_are_missing_are_named(active_set: ActiveSet) -> None:
    require_elements(active_set, ["Au", "Cu", "Cu"])
    with pytest.raises(ActiveSetError, match="also needs Ag, Pt"):
        require_elements(active_set, ["Cu", "Pt", "Ag"])
    with pytest.raises(ActiveSetError, match="also needs Ag"):
        inverses_by_type({"Cu": np.eye(2)}, ["Ag"])


def test_master_keeps_everything(active_set: ActiveSet) -> None:
    found = unpack_active_set(pack_active_set(active_set))
    assert found.model_sha256 == "c" * 64
    assert (found.variant, found.rcond, found.tolerance) == ("subspace", 1e-6, 1.001)
    for ours, theirs in zip(active_set.members, found.members, strict=True):
        assert (
            replace(ours, inverse=None, active_rows=None, column_scale=None).__dict__
            == replace(theirs, inverse=None, active_rows=None, column_scale=None).__dict__
        )
        np.testing.assert_array_equal(ours.inverse, theirs.inverse)
        np.testing.assert_array_equal(ours.active_rows, theirs.active_rows)
        np.testing.assert_array_equal(ours.column_scale, theirs.column_scale)


def test_equal_active_sets_have_equal_bytes(active_set: ActiveSet) -> None:
    again = build_active_set(frames(6), ["Cu", "Au"], model_sha256="c" * 64)
    packed = pack_active_set(active_set)
    assert pack_active_set(again) == packed
    assert pack_active_set(unpack_active_set(packed)) == packed
    assert pack_active_set(replace(active_set, model_sha256="d" * 64)) != packed


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", b"Cu 2 2"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ActiveSetError, match="not a packed active set"):
        unpack_active_set(content)
