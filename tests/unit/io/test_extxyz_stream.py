"""Frames from a stream are those ASE reads; what cannot be used is named."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from nepal_flows.errors import StructureError
from nepal_flows.io.extxyz_stream import stream_extxyz


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for k in range(3):
        atoms = Atoms(
            rng.choice(["Cu", "Au"], 5 + k),
            positions=rng.uniform(0, 9, (5 + k, 3)),
            cell=np.diag([9.0, 8.0, 10.0]) + 0.3,
            pbc=[True, k != 1, True],
        )
        atoms.arrays["gamma"] = rng.uniform(0, 30, 5 + k)
        atoms.arrays["tag"] = np.arange(5 + k)
        frames.append(atoms)
    path = tmp_path / "dump.xyz"
    write(path, frames, format="extxyz")
    return path


def test_frames_are_those_ase_reads(path) -> None:
    for frame, atoms in zip(stream_extxyz(path), read(path, ":"), strict=True):
        np.testing.assert_array_equal(frame.structure.numbers, atoms.numbers)
        np.testing.assert_allclose(frame.structure.positions, atoms.positions, atol=1e-12)
        np.testing.assert_allclose(frame.structure.cell, atoms.cell, atol=1e-12)
        assert frame.structure.pbc == tuple(atoms.pbc)
        np.testing.assert_allclose(frame.grades, atoms.arrays["gamma"], atol=1e-12)


def test_frame_without_grades_has_none(tmp_path) -> None:
    path = tmp_path / "plain.xyz"
    path.write_text('1\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 0\n')
    (frame,) = stream_extxyz(path)
    assert frame.grades is None
    assert frame.structure.pbc == (True, True, True)


def test_frame_that_was_cut_short_is_left_out(path) -> None:
    text = path.read_text()
    path.write_text(text[:-20])
    assert [frame.index for frame in stream_extxyz(path)] == [0, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\nProperties=species:S:1:pos:R:3\nCu 0 0 0\n", "no `Lattice`"),
        ('1\nLattice="3 0 0 0 3 0 0 3"\nCu 0 0 0\n', "not nine numbers"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nXx 0 0 0\n', "Xx"),
        ('1\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0 0 zero\n', "cannot be read"),
        ("atoms\n\n", "number of atoms"),
        ("", "no complete frame"),
        (
            '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3:gamma:R:1\n'
            "Cu 0 0 0 nan\n",
            "NaN",
        ),
    ],
)
def test_bad_files_are_refused_with_the_frame(tmp_path, text, words) -> None:
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(StructureError, match=words):
        list(stream_extxyz(path))


def test_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(StructureError, match="no file"):
        list(stream_extxyz(tmp_path / "none.xyz"))
