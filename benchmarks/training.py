"""Training: cost of an exact gradient, and held-out error against time, beside torchnep.

Run ``python benchmarks/training.py [--data TRAIN.xyz --input nep.in] [--torchnep PYTHON]``.
Without data, copper cells of 32 atoms are rattled, strained and labelled by ASE's EMT. Every fifth
frame is held out. ``PYTHON`` is an interpreter with torchnep and torch; by default this one, if it
has them. Everything runs on one thread; times are CPU times of the training, from reading or
featurising to the last step. Both models are judged by the same code, in float64.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training import (
    TrainingSettings,
    fit_reference_energies,
    model_errors,
    reference_energy,
    train_model,
)
from nepal_flows.core.nep.training.feature_store import FeatureStore
from nepal_flows.core.nep.training.initial import random_model
from nepal_flows.core.nep.training.objective import Objective
from nepal_flows.core.nep.training.targets import build_targets
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_in import NepInput, read_nep_in
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import labelled_from_atoms, read_labelled

COMMON = NepInput(
    type=("Cu",), cutoff=(6.0, 5.0), n_max=(4, 4), basis_size=(8, 8), l_max=(4, 2, 0), neuron=30
)
PEER = """
import json, sys, time
import torch
torch.set_num_threads(1)
from torchnep import train_nep
start = time.process_time()
train_nep("nep.in", "train.xyz", output_dir="out", valid_file="test.xyz", device="cpu",
          restart=False, print_interval=1000, run_seed=1)
print("\\n" + json.dumps([time.process_time() - start, torch.__version__]))
"""


def copper_frames(n: int) -> list[LabelledStructure]:
    """Return rattled and strained copper cells with EMT's labels."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        strain = 0.02 * rng.normal(size=(3, 3))
        stretch = np.eye(3) * (1.0 + rng.uniform(-0.02, 0.04)) + 0.5 * (strain + strain.T)
        atoms.set_cell(atoms.cell @ stretch, scale_atoms=True)
        atoms.positions += rng.uniform(0.03, 0.25) * rng.normal(size=(len(atoms), 3))
        atoms.calc = EMT()
        atoms.get_stress()
        frames.append(labelled_from_atoms(atoms))
    return frames


def shortest(function: Callable[[], object], *, repeats: int = 9) -> float:
    """Return the shortest CPU time of a call, s."""
    function()
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def gradient_costs(
    frames: Sequence[LabelledStructure], architecture: NepArchitecture
) -> dict[str, float]:
    """Return microseconds per atom of predictions and of gradients, features excluded."""
    references = fit_reference_energies(frames, architecture.elements)
    structures = [frame.structure for frame in frames]
    model = random_model(architecture, structures, np.random.default_rng(0))
    n_atoms = sum(frame.n_atoms for frame in frames)
    costs = {}
    for precision in ("float32", "float64"):
        settings = TrainingSettings(precision=precision)
        targets = build_targets(frames, architecture, settings, reference_energies=references)
        dtype = np.dtype(precision).type
        store = FeatureStore(structures, architecture, dtype=dtype, memory_limit_MB=4000.0)
        loss = Objective(store, targets, architecture, model.q_scaler, settings)
        start = model.parameters()
        costs[f"E + F + W, {precision}"] = shortest(lambda f=loss, x=start: f.evaluate(x))
        costs[f"gradient, {precision}"] = shortest(lambda f=loss, x=start: f.gradient(x))
    return {name: 1e6 * seconds / n_atoms for name, seconds in costs.items()}


def errors_text(errors: object) -> str:
    """Return force and energy errors as text."""
    return f"{1e3 * errors.total_force_rmse:7.1f} meV/Å {1e3 * errors.energy_rmse:6.2f} meV/atom"  # type: ignore[attr-defined]


def our_curve(
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    architecture: NepArchitecture,
    steps: Sequence[int],
    batch_atoms: int,
) -> list[tuple[float, float]]:
    """Train with more and more steps; print and return CPU seconds and held-out force errors."""
    settings = TrainingSettings(batch_atoms=batch_atoms)
    train_model(train[:2], architecture, dataclasses.replace(settings, n_adam_steps=2))  # compile
    curve = []
    for n_steps in steps:
        start = time.process_time()
        result = train_model(
            train, architecture, dataclasses.replace(settings, n_adam_steps=n_steps), holdout=test
        )
        seconds = time.process_time() - start
        assert result.holdout_errors is not None
        print(
            f"  ours     {n_steps:6d} steps  {seconds:7.1f} s   train "
            f"{errors_text(result.training_errors)}   held out {errors_text(result.holdout_errors)}"
        )
        curve.append((seconds, result.holdout_errors.total_force_rmse))
    return curve


def peer_input(given: NepInput, n_epochs: int, batch: int) -> str:
    """Return a nep.in for torchnep."""
    lines = [
        f"type {len(given.type)} {' '.join(given.type)}",
        f"cutoff {given.cutoff[0]} {given.cutoff[1]}",
        f"n_max {given.n_max[0]} {given.n_max[1]}",
        f"basis_size {given.basis_size[0]} {given.basis_size[1]}",
        f"l_max {' '.join(map(str, given.l_max))}",
        f"neuron {given.neuron}",
        f"lambda_v {given.lambda_v}",
        f"epoch {n_epochs}",
        f"batch {batch}",
    ]
    return "\n".join(lines) + "\n"


def peer_run(
    python: str,
    given: NepInput,
    train: Sequence[LabelledStructure],
    test: Sequence[LabelledStructure],
    n_epochs: int,
    batch: int,
) -> tuple[float, str]:
    """Train with torchnep; print its errors, return its CPU seconds and torch's version."""
    references = fit_reference_energies(train, given.type)
    shifted = [
        [
            dataclasses.replace(
                frame, energy=frame.energy - reference_energy(frame.structure, references)
            )
            for frame in frames
        ]
        for frames in (train, test)
    ]
    with tempfile.TemporaryDirectory() as folder:
        for name, frames in zip(("train", "test"), shifted, strict=True):
            write_extxyz(frames, Path(folder) / f"{name}.xyz")
        (Path(folder) / "nep.in").write_text(peer_input(given, n_epochs, batch))
        run = subprocess.run(
            [python, "-c", PEER],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise SystemExit(f"torchnep failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
        seconds, version = json.loads(run.stdout.splitlines()[-1])
        model = read_nep_txt(Path(folder) / "out" / "nep_best.txt")
    zero = dict.fromkeys(given.type, 0.0)
    errors = [model_errors(model, frames, zero) for frames in shifted]
    print(
        f"  torchnep {n_epochs:6d} epochs {seconds:7.1f} s   train {errors_text(errors[0])}   "
        f"held out {errors_text(errors[1])}",
        flush=True,
    )
    return seconds, version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="labelled frames, any format ASE reads")
    parser.add_argument("--input", help="their nep.in")
    parser.add_argument("--steps", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000])
    parser.add_argument("--batch-atoms", type=int, default=128)
    parser.add_argument("--torchnep", default=sys.executable, help="interpreter with torchnep")
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--peer-batch", type=int, default=4, help="structures per batch")
    options = parser.parse_args()
    given = read_nep_in(options.input) if options.input else COMMON
    frames = read_labelled(options.data) if options.data else copper_frames(50)
    test = frames[2::5]
    train = [frame for index, frame in enumerate(frames) if index % 5 != 2]
    n_atoms = sum(frame.n_atoms for frame in train)
    print(f"{len(train)} frames, {n_atoms} atoms to train on; {len(test)} frames held out")
    for name, cost in gradient_costs(train, given.architecture).items():
        print(f"  {name:22s} {cost:7.2f} us/atom")
    our_curve(train, test, given.architecture, options.steps, options.batch_atoms)
    found = subprocess.run(
        [options.torchnep, "-c", "import torch, torchnep"], capture_output=True, check=False
    )
    if found.returncode:
        print("  torchnep is not installed; `pip install torch torchnep`, see --torchnep")
        return
    runs = [
        peer_run(options.torchnep, given, train, test, n_epochs, options.peer_batch)
        for n_epochs in options.epochs
    ]
    version = runs[0][1]
    if len(runs) > 1:
        extra = (options.epochs[-1] - options.epochs[0]) * n_atoms
        cost = 1e6 * (runs[-1][0] - runs[0][0]) / extra
        print(f"  torchnep, torch {version}: {cost:.1f} us per atom and epoch")


if __name__ == "__main__":
    main()
