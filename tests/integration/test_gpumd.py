"""The real `gpumd` and `nep`, where a GPU is at hand.

Give their commands: NEPAL_TEST_GPUMD=/path/to/gpumd NEPAL_TEST_NEP=/path/to/nep pytest -m gpu -s.
What these tests print belongs into docs/validation.md. They say nothing but what holds for the
stand-ins, too, so that they can be tried without a GPU.
"""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.committee import Committee
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.nep.model import model_from_parameters
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.scoring import Scale
from nepal_flows.engines.gpumd.committee import CommitteeScore
from nepal_flows.engines.gpumd.devices import visible_gpus
from nepal_flows.engines.gpumd.md import GpumdSetup, run_gpumd_md
from nepal_flows.engines.gpumd.self_test import run_self_test
from nepal_flows.engines.gpumd.training import NepSetup, run_nep_training
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import labelled_from_atoms, structure_from_atoms

pytestmark = [pytest.mark.gpu, pytest.mark.integration]
SHA = "a" * 64
MODEL = Path(__file__).parents[1] / "data" / "copper" / "nep.txt"


def command(program: str) -> str:
    value = os.environ.get(f"NEPAL_TEST_{program.upper()}")
    if not value:
        pytest.skip(f"NEPAL_TEST_{program.upper()} does not name a `{program}`")
    return value


def copper(repeat: int, seed: int, rattle: float = 0.05):
    atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=seed)
    return atoms


@pytest.fixture(scope="module")
def graded():
    """Return a copper model and its active set."""
    model = read_nep_txt(MODEL)
    frames = [structure_from_atoms(copper(2, seed, 0.02 * (seed + 1))) for seed in range(4)]
    factors = [projection_factors(model, frame) for frame in frames]
    return model, build_active_set(factors, model.elements, model_sha256=SHA)


@pytest.fixture
def setup(graded):
    start = structure_from_atoms(copper(1, 5))
    wanted = GpumdSetup(command=command("gpumd"), gpu=visible_gpus()[0])
    test = run_self_test(start, *graded, setup=wanted, model_sha256=SHA)
    print(f"\nGPUMD {test.version}: grade {test.gamma:.4g}, difference {test.difference:.2g} of")
    print(f"what is tolerated; nep_file in the grading keyword: {test.setup.names_model}")
    return test.setup


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt", "ramp of pressure", "skewed"])
def test_ensembles_run_to_their_end(setup, graded, ensemble):
    model, active_set = graded
    atoms = copper(3, 1)
    if ensemble == "skewed":
        shear = np.eye(3) + 0.05 * np.eye(3, k=1)
        atoms.set_cell(atoms.cell @ shear, scale_atoms=True)
    pressure = (0.0, 5.0) if ensemble == "ramp of pressure" else 0.0
    kind = ensemble if ensemble in ("nve", "nvt") else "npt"
    run = run_gpumd_md(
        structure_from_atoms(atoms), model, [MdSegment(kind, (300.0, 300.0), 500, pressure)],
        setup=setup, active_set=active_set, seed=1, model_sha256=SHA, candidate_ceiling=1e9,
        n_audit=3, gate=PhysicsGate(),
    )  # fmt: skip
    print(f"\n{ensemble}: {run.outcome}, T {run.trace.temperature_K[-10:].mean():.0f} K")
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.trace.step.tolist() == list(range(11, 501, 10))
    assert 100.0 < run.trace.temperature_K[20:].mean() < 500.0


def test_a_high_grade_stops_a_run_and_its_frame_is_written(setup, graded):
    model, active_set = graded
    run = run_gpumd_md(
        structure_from_atoms(copper(2, 1)), model, [MdSegment("nvt", (300.0, 3000.0), 20000)],
        setup=setup, active_set=active_set, seed=1, model_sha256=SHA, gamma_stop=50.0,
        gate=PhysicsGate(),
    )  # fmt: skip
    print(f"\nstopped: {run.outcome}, {run.reason}")
    assert run.outcome in ("stopped_by_grade", "stopped_by_gate")
    assert run.finished_steps < 20000


def test_the_members_of_a_committee_are_compared_at_every_check(graded):
    model, active_set = graded
    rng, parameters = np.random.default_rng(5), model.parameters()
    members = [model, *(
        model_from_parameters(
            model.architecture,
            parameters * (1.0 + 0.01 * rng.standard_normal(len(parameters))),
            model.q_scaler,
        )
        for _ in range(3)
    )]  # fmt: skip
    score = CommitteeScore(Committee(tuple(members), 0.05, 1.5), Scale())
    wanted = GpumdSetup(command=command("gpumd"), gpu=visible_gpus()[0])
    parts = {"model_sha256": SHA, "committee": score}
    start = structure_from_atoms(copper(2, 5))
    test = run_self_test(start, model, active_set, setup=wanted, **parts)
    print(f"\nGPUMD {test.version}: deviation {test.gamma:.4g} eV/Å, difference")
    print(f"{test.difference:.2g} of what is tolerated; five arguments of `active`: "
          f"{test.setup.names_uncertainty}")  # fmt: skip
    run = run_gpumd_md(
        start, model, [MdSegment("nvt", 300.0, 100), MdSegment("npt", 300.0, 55)],
        setup=test.setup, active_set=active_set, seed=1, candidate_ceiling=1e9, gamma_low=1e-3,
        gate=PhysicsGate(), **parts,
    )  # fmt: skip
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.trace.step.tolist() == list(range(10, 151, 10))
    assert (run.trace.largest_bar_eV_per_A > 0.0).all()


def test_a_model_that_nep_trains_is_the_model_we_read(tmp_path):
    program = command("nep")
    frames = []
    for seed in range(20):
        atoms = copper(1, seed, 0.1)
        atoms.calc = EMT()
        atoms.get_forces()
        frames.append(labelled_from_atoms(atoms))
    nep_input = NepInput(
        type=("Cu",), cutoff=(5.0, 4.0), n_max=(4, 4), basis_size=(6, 6), l_max=(4, 0, 0),
        neuron=10, generation=2000,
    )  # fmt: skip
    kept = []
    setup = NepSetup(program, str(tmp_path), checkpoint_interval_s=2.0)
    run = run_nep_training(nep_input, frames, setup=setup, keep=kept.append)
    predicted = predict_many(run.model, [frame.structure for frame in frames])
    errors = [p.forces - f.forces for p, f in zip(predicted, frames, strict=True)]
    ours = float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))
    theirs = float(run.history[-1, 5])
    print(f"\n{run.program}: force error {theirs:.4f} by its loss.out, {ours:.4f} eV/Å here")
    assert ours == pytest.approx(theirs, rel=0.05, abs=2e-3)
    further = dataclasses.replace(nep_input, generation=200)
    warm = run_nep_training(further, frames, setup=setup, parent=run.state)
    assert warm.history[0, 5] < 3.0 * theirs
    if kept and kept[0].n_generations < nep_input.generation:
        again = run_nep_training(nep_input, frames, setup=setup, checkpoint=kept[0])
        assert again.state.n_generations == nep_input.generation
