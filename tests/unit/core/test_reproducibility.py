"""A process that compiles the kernels and one that loads them get equal numbers to the last bit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nepal_flows

_PROGRAM = """
import hashlib

import numpy as np

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.md.dynamics import Dynamics, Stretch
from nepal_flows.core.nep.model import NepArchitecture, Zbl, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.nep.training import TrainingSettings, train_model
from nepal_flows.core.structure import LabelledStructure, Structure


def report(name, *arrays):
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays))
    print(name, digest.hexdigest())


architecture = NepArchitecture(
    ("Cu", "Au"), (5.0,), (4.0,), 4, 4, 8, 8, 4, True, True, 10, zbl=Zbl(1.0, 2.5)
)
rng = np.random.default_rng(0)
parameters = rng.normal(0.0, 0.3, architecture.n_parameters)
model = model_from_parameters(architecture, parameters, np.full(architecture.n_descriptors, 0.1))
sites = 3.8 * np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
frames = []
for _ in range(4):
    moved = sites + rng.normal(0.0, 0.15, sites.shape)
    structure = Structure(np.array([29, 79, 29, 79]), moved, 3.8 * np.eye(3))
    frames.append(LabelledStructure(structure, -1.0, rng.normal(0.0, 0.1, (4, 3)), np.eye(3)))
    prediction = predict(model, structure)
    report("energies, forces", prediction.atomic_energies, prediction.forces, prediction.virial)
    factors = projection_factors(model, structure)
    report("projections", factors.y, factors.v, factors.t)
dynamics = Dynamics(
    model, structure, masses=np.full(4, 100.0), temperature=300.0, seed=0,
    gate=PhysicsGate(min_distances={}),
)
dynamics.run(Stretch("npt", (300.0, 300.0), 20))
report("dynamics", dynamics.structure.positions, dynamics.velocities)
settings = TrainingSettings(n_adam_steps=4, n_lbfgs_steps=2)
trained = train_model(frames, architecture, settings).model
report("training", trained.parameters())
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)  # fifty seconds of one core
def test_digits_do_not_depend_on_who_compiled(tmp_path: Path) -> None:
    source = Path(nepal_flows.__file__).parents[1]
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(source)}
    compiling, loading = (
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PROGRAM],
            env=environment, capture_output=True, text=True, check=True,
        ).stdout
        for _ in range(2)
    )  # fmt: skip
    assert compiling.count("\n") == 10
    assert compiling == loading
