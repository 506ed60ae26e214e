"""Packed frames: everything comes back, and equal content has equal bytes."""

import time

import numpy as np
import pytest

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError
from nepal_flows.io.frames import pack_arrays, pack_frames, unpack_arrays, unpack_frames


def some_structures() -> list[Structure]:
    rng = np.random.default_rng(1)
    return [
        Structure(
            rng.integers(1, 90, n), rng.normal(size=(n, 3)), 5 * np.eye(3), (True, True, n > 2)
        )
        for n in (3, 1, 2)
    ]


def assert_equal(one: Structure, two: Structure) -> None:
    np.testing.assert_array_equal(one.numbers, two.numbers)
    np.testing.assert_array_equal(one.positions, two.positions)
    np.testing.assert_array_equal(one.cell, two.cell)
    assert one.pbc == two.pbc


def test_structures_scalars_and_arrays_come_back() -> None:
    structures = some_structures()
    gamma = [np.arange(s.n_atoms, dtype=float) for s in structures]
    data = pack_frames(
        structures,
        scalars={"step": [1, 2, 3], "condition": ["melt", "b", "c"]},
        arrays={"gamma": gamma},
    )
    frames = unpack_frames(data)
    assert len(frames) == 3
    for one, two in zip(structures, frames.structures, strict=True):
        assert_equal(one, two)
    assert frames.scalars["step"].tolist() == [1, 2, 3]
    assert frames.scalars["condition"].tolist() == ["melt", "b", "c"]
    for one, two in zip(gamma, frames.arrays["gamma"], strict=True):
        np.testing.assert_array_equal(one, two)
    assert frames.labelled == ()


def test_labels_come_back_with_missing_virials() -> None:
    labelled = [
        LabelledStructure(s, float(i), s.positions * 2, np.eye(3) * i if i else None, weight=i + 1)
        for i, s in enumerate(some_structures())
    ]
    frames = unpack_frames(pack_frames(labelled))
    for one, two in zip(labelled, frames.labelled, strict=True):
        assert_equal(one.structure, two.structure)
        assert (one.energy, one.weight) == (two.energy, two.weight)
        np.testing.assert_array_equal(one.forces, two.forces)
        assert (one.virial is None) == (two.virial is None)
        if one.virial is not None:
            np.testing.assert_array_equal(one.virial, two.virial)


def test_no_frames_can_be_packed() -> None:
    frames = unpack_frames(pack_frames([], scalars={"step": []}, arrays={"gamma": []}))
    assert len(frames) == 0
    assert frames.arrays["gamma"] == ()


def test_equal_content_has_equal_bytes_at_another_time(monkeypatch: pytest.MonkeyPatch) -> None:
    structures = some_structures()
    now = pack_frames(structures, scalars={"b": [1, 2, 3], "a": [1.0, 2.0, 3.0]})
    monkeypatch.setattr(time, "time", lambda: 2.0e9)
    later = pack_frames(structures, scalars={"a": [1.0, 2.0, 3.0], "b": [1, 2, 3]})
    assert now == later
    assert now != pack_frames(structures, scalars={"b": [1, 2, 4], "a": [1.0, 2.0, 3.0]})


def test_arrays_come_back() -> None:
    arrays = {"x": np.arange(3), "y": np.array(2.5), "z": np.asfortranarray(np.ones((2, 3)))}
    again = unpack_arrays(pack_arrays(arrays))
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_mixed_frames_are_refused() -> None:
    one, two, _ = some_structures()
    with pytest.raises(InputError, match="1 of 2"):
        pack_frames([LabelledStructure(one, 0.0, one.positions), two])


@pytest.mark.parametrize("scalars", [{"step": [1]}, {"step": [None, None, None]}])
def test_scalars_that_do_not_fit_are_refused(scalars: dict[str, list[object]]) -> None:
    with pytest.raises(InputError, match="step"):
        pack_frames(some_structures(), scalars=scalars)


def test_per_atom_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="gamma"):
        pack_frames(some_structures(), arrays={"gamma": [np.zeros(1)] * 3})


@pytest.mark.parametrize("data", [b"", b"abc", pack_arrays({"x": np.zeros(1)})])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"no npz|no frames"):
        unpack_frames(data)
