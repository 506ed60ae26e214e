"""Two codes are compared on the frames that both have labelled, and on no others."""

from dataclasses import replace

import numpy as np
import pytest

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.frames import pack_frames
from silicon.cells import displaced, multiple, primitive_cell
from silicon.codes import code_differences


@pytest.fixture
def frames():
    rng = np.random.default_rng(4)
    crystal = multiple(primitive_cell(5.47), (2, 1, 1))
    cells = [displaced(crystal, rng.normal(0.0, 0.1, (4, 3))) for _ in range(3)]
    return [LabelledStructure(one, rng.normal(), rng.normal(size=(4, 3))) for one in cells]


def _write(path, labels, names):
    scalars = {"name": names, "cpu_s": [1.0] * len(names), "version": [path.stem] * len(names)}
    path.write_bytes(pack_frames(labels, scalars=scalars))
    return path


def test_differences_are_those_put_in(frames, tmp_path):
    names = ["frames/solid/2x2x2/tersoff"] * 2 + ["frames/liquid/2x2x2/tersoff"]
    changed = [
        replace(one, energy=one.energy - 400.0 - shift, forces=1.1 * one.forces)
        for one, shift in zip(frames, (0.012, 0.0, -0.012), strict=True)
    ]
    own, other = _write(tmp_path / "a", frames, names), _write(tmp_path / "b", changed, names)
    found = code_differences(own, other)
    assert found["versions"] == ["a", "b"]
    assert {name: one["n_frames"] for name, one in found["by_class"].items()} == {
        "liquid": 1,
        "solid": 2,
        "all": 3,
    }
    everything = found["by_class"]["all"]
    assert everything["energy_rms_meV_per_atom"] == pytest.approx(3.0 * np.sqrt(2.0 / 3.0))
    assert everything["force_share"] == pytest.approx(0.1)


def test_frames_of_one_code_alone_do_not_count(frames, tmp_path):
    own = _write(tmp_path / "a", frames[:1], ["frames/solid/2x2x2/tersoff"])
    elsewhere = _write(tmp_path / "b", frames[1:2], ["frames/solid/2x2x2/tersoff"])
    otherwise = _write(tmp_path / "c", frames[:1], ["frames/solid/2x2x2/model 1234"])
    assert code_differences(own, elsewhere) == {}
    assert code_differences(own, otherwise) == {}
