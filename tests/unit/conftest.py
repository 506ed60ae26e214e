"""A rough copper model to run (see tests/data/copper/README.md), and files to carve."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from nepal_flows.core.nep.model import NepModel
from nepal_flows.engines.active_set_step import active_set_file
from nepal_flows.engines.grading_step import grade_file
from nepal_flows.io.nep_txt import read_nep_txt

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def copper_model() -> NepModel:
    return read_nep_txt(DATA / "copper" / "nep.txt")


@pytest.fixture(scope="session")
def carving_files(tmp_path_factory) -> Path:
    """nep.txt, train.xyz, active_set.asi, and graded.xyz: 864 atoms with a hole of 13."""
    folder = tmp_path_factory.mktemp("carving")
    shutil.copy(DATA / "copper" / "nep.txt", folder / "nep.txt")
    train = []
    for k in range(10):
        atoms = bulk("Cu", cubic=True, a=3.62) * (2, 2, 2)
        atoms.rattle(0.04 + 0.01 * k, seed=k)
        train.append(atoms)
    write(folder / "train.xyz", train)
    active_set_file(folder / "nep.txt", folder / "train.xyz", folder / "active_set.asi")
    frames = []
    for seed in range(2):
        parent = bulk("Cu", cubic=True, a=3.62) * (6, 6, 6)
        parent.rattle(0.07, seed=seed)
        hole = parent.get_distances(430, range(len(parent)), mic=True) < 3.0
        del parent[np.flatnonzero(hole)]
        frames.append(parent)
    write(folder / "parents.xyz", frames)
    grade_file(
        folder / "nep.txt", folder / "active_set.asi", folder / "parents.xyz",
        folder / "graded.xyz",
    )  # fmt: skip
    return folder
