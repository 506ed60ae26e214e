"""thermo.out and extrapolation_dump.xyz, as GPUMD writes them and as crashes leave them."""

import numpy as np
import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.gpumd_outputs import read_dump, read_thermo

FRAME = """2
max_gamma=7.12500000 pbc="T T F" Lattice="4.00000000 0.00000000 0.00000000 0.50000000 4.00000000 \
0.00000000 0.00000000 0.00000000 5.00000000" Properties=species:S:1:pos:R:3:gamma:R:1
Cu 0.10000000 -0.20000000 0.30000000 7.125000
Au 2.00000000 2.00000000 2.50000000 0.500000
"""


def row(*values: float) -> str:
    return "".join(f"{value:20.10e}" for value in values) + "\n"


ROW = row(301, 0.5, -8, 1, 2, 3, 0, 0, 0, 4, 0, 0, 0.5, 4, 0, 0, 0, 5)


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "file"
        path.write_text(text)
        return path

    return write


def test_a_frame_of_the_dump_is_read(written):
    (frame,) = read_dump(written(FRAME))
    assert frame.numbers.tolist() == [29, 79]
    assert frame.positions.tolist() == [[0.1, -0.2, 0.3], [2.0, 2.0, 2.5]]
    assert frame.cell.tolist() == [[4, 0, 0], [0.5, 4, 0], [0, 0, 5]]
    assert frame.pbc == (True, True, False)
    assert (frame.gamma, frame.grades.tolist()) == (7.125, [7.125, 0.5])
    assert frame.is_finite


def test_a_dump_that_is_not_there_has_no_frames(tmp_path):
    assert list(read_dump(tmp_path / "nothing")) == []


@pytest.mark.parametrize("n_bytes", [1, 10, 60, len(FRAME) - 20, len(FRAME) - 1])
def test_a_last_frame_that_was_cut_short_is_left_out(written, n_bytes):
    assert len(list(read_dump(written(FRAME + FRAME[:n_bytes])))) == 1


def test_nan_is_read_as_what_it_is(written):
    text = FRAME.replace("0.10000000 -0.20000000", "-nan nan").replace("7.125", "0.000")
    (frame,) = read_dump(written(text))
    assert not frame.is_finite
    assert frame.gamma == 0.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2\n", "two\n"),
        ("max_gamma=7.12500000", "energy=3"),
        ("Cu 0.1", "Xx 0.1"),
        ("0.30000000 7.125000", "0.30000000"),
        ("2.50000000 0.5", "garbage 0.5"),
    ],
)
def test_garbage_inside_a_dump_is_an_error(written, old, new):
    with pytest.raises(InputError):
        list(read_dump(written(FRAME.replace(old, new, 1) + FRAME)))


def test_rows_of_thermo_are_read_with_and_without_comments(written):
    for text in (ROW + ROW, f"# dump_thermo 10\n# num_atoms 2\n{ROW}# dump_thermo 10\n{ROW}"):
        thermo = read_thermo(written(text))
        assert len(thermo) == 2
        assert thermo.temperature.tolist() == [301.0] * 2
        assert (thermo.kinetic_energy[0], thermo.potential_energy[0]) == (0.5, -8.0)
        np.testing.assert_allclose(thermo.pressure, 2.0)
        np.testing.assert_allclose(thermo.volume, 80.0)
        assert thermo.first_bad_row is None


def test_lengths_of_an_orthogonal_cell_are_read_as_old_versions_write_them(written):
    thermo = read_thermo(written(row(301, 0.5, -8, 1, 2, 3, 0, 0, 0, 4, 4, 5)))
    np.testing.assert_allclose(thermo.volume, 80.0)


def test_a_last_row_that_was_cut_short_is_left_out(written):
    assert len(read_thermo(written(ROW + ROW[:100]))) == 1


def test_the_first_row_that_is_not_finite_is_named(written):
    nan = row(*[float("nan")] * 18)
    assert read_thermo(written(ROW + ROW + nan + nan)).first_bad_row == 2


def test_no_thermo_has_no_rows(tmp_path):
    assert len(read_thermo(tmp_path / "nothing")) == 0


@pytest.mark.parametrize("text", ["a b c\n", "1 2 3\n", ROW + "1 2\n"])
def test_a_table_that_is_no_thermo_is_an_error(written, text):
    with pytest.raises(InputError, match=r"thermo\.out|columns"):
        read_thermo(written(text))
