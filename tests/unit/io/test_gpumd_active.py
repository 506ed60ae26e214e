"""active.out and active.xyz: forms of several versions, ends that were cut, and other files."""

import numpy as np
import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.gpumd_active import read_active, read_deviations

PLAIN = "Properties=species:S:1:pos:R:3"
RICH = "Properties=species:S:1:vel:R:3:pos:R:3:uncertainty:R:1"


def write(folder, rows, frames, *, properties=PLAIN, extra=""):
    (folder / "active.out").write_text("".join(f"{t} {s}\n" for t, s in rows))
    text = ""
    for x in frames:
        before = "0.1 0.2 0.3 " if properties == RICH else ""
        after = " 0.5" if properties == RICH else ""
        text += (
            f'2\nTime=1 pbc="T T F" Lattice="4 0 0 0 5 0 0 0 6" {properties}\n'
            f"Cu {before}{x} 0 0{after}\nAu {before}0 {x} 0{after}\n"
        )
    (folder / "active.xyz").write_text(text + extra)


@pytest.mark.parametrize("properties", [PLAIN, RICH])
def test_every_check_has_its_frame(tmp_path, properties):
    write(tmp_path, [(10.0, 0.25), (20.0, 0.5)], [1.0, 2.0], properties=properties)
    np.testing.assert_array_equal(read_deviations(tmp_path / "active.out"), [0.25, 0.5])
    first, second = read_active(tmp_path)
    assert (first.gamma, second.gamma) == (0.25, 0.5)
    np.testing.assert_array_equal(second.positions, [[2.0, 0, 0], [0, 2.0, 0]])
    np.testing.assert_array_equal(first.numbers, [29, 79])
    np.testing.assert_array_equal(first.cell, np.diag([4.0, 5.0, 6.0]))
    assert first.pbc == (True, True, False)
    assert first.is_finite


@pytest.mark.parametrize("bad", ["nan", "-1.0", "0.0"])
def test_a_check_without_a_deviation_has_no_frame_and_is_not_finite(tmp_path, bad):
    write(tmp_path, [(10.0, 0.25), (20.0, bad), (30.0, 0.5)], [1.0, 3.0])
    first, broken, last = read_active(tmp_path)
    assert first.is_finite
    assert not broken.is_finite
    np.testing.assert_array_equal(last.positions[0], [3.0, 0, 0])


def test_a_last_frame_or_row_that_was_cut_is_left_out(tmp_path):
    write(tmp_path, [(10.0, 0.25), (20.0, 0.5)], [1.0], extra="2\nTime=2")
    assert len(list(read_active(tmp_path))) == 1
    (tmp_path / "active.out").write_text("10.0 0.25\n20.0 0.")
    assert len(read_deviations(tmp_path / "active.out")) == 1


def test_a_run_without_checks_has_nothing(tmp_path):
    assert list(read_active(tmp_path)) == []
    (tmp_path / "active.out").write_text("10.0 nan\n")
    (frame,) = read_active(tmp_path)
    assert not frame.is_finite


@pytest.mark.parametrize(
    ("rows", "xyz", "words"),
    [
        ("10.0 0.25 3\n", "", "3 columns"),
        ("ten 0.25\n", "", "no active.out"),
        ("10.0 0.25\n", None, "missing"),
        ("10.0 0.25\n", "many\n\n", "number of atoms"),
        ("10.0 0.25\n", "1\nLattice\nCu 0 0 0\n", "is not what `active` writes"),
        (
            "10.0 0.25\n",
            '1\npbc="T T T" Lattice="1 0 0 0 1 0 0 0 1" Properties=species:S:1\nCu\n',
            "no columns `species` and `pos`",
        ),
        (
            "10.0 0.25\n",
            f'1\npbc="T T T" Lattice="1 0 0 0 1 0 0 0 1" {PLAIN}\nCu 0 0\n',
            "4 columns",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, rows, xyz, words):
    (tmp_path / "active.out").write_text(rows)
    if xyz is not None:
        (tmp_path / "active.xyz").write_text(xyz)
    with pytest.raises(InputError, match=words):
        list(read_active(tmp_path))
