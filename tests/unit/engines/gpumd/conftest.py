"""A stand-in for GPUMD's programs, and a copper model with its active set."""

import shlex
import sys
from pathlib import Path

import pytest
from ase.build import bulk

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.io.structures import structure_from_atoms

STANDINS = Path(__file__).parents[3] / "standins"
SHA = "a" * 64


@pytest.fixture
def gpumd_command(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the command of the stand-in, which takes no fault from outside."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return shlex.join([sys.executable, str(STANDINS / "gpumd.py")])


def cell(repeat: int = 1, rattle: float = 0.05, seed: int = 0) -> Structure:
    """Return rattled copper."""
    atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=seed)
    return structure_from_atoms(atoms)


@pytest.fixture(scope="session")
def start() -> Structure:
    return cell()


@pytest.fixture(scope="session")
def active_set(copper_model: NepModel) -> ActiveSet:
    frames = [cell(2, 0.02 + 0.02 * seed, seed) for seed in range(4)]
    factors = [projection_factors(copper_model, frame) for frame in frames]
    return build_active_set(factors, copper_model.elements, model_sha256=SHA)


@pytest.fixture(scope="session")
def gate() -> PhysicsGate:
    return PhysicsGate(min_distances={(29, 29): 1.5})
