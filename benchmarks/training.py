"""Training: cost of an exact gradient, and held-out errors against time, beside torchnep.

Run ``python benchmarks/training.py``; ``--peers PYTHON`` names an interpreter that has torchnep,
where this one has not. The sets are copper and copper-gold labelled by ASE's EMT (made anew, half a
minute); further ones are named by ``--mlearn FOLDER`` (data/Si of github.com/materialsvirtuallab/
mlearn, say) and ``--set NAME TRAIN TEST NEP_IN``. Everything runs on one thread; times are CPU
times from reading or featurising to the last step. Frames to test on influence nothing of ours;
torchnep keeps the parameters, and the rates, that are best on them. Both have the same
architecture, and every model is judged by the same code, in float64. With ``--keep FOLDER`` the
peer's curves are kept there and not measured again.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training import (
    ModelErrors,
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
from nepal_flows.io.structures import read_labelled
from sets.emt import COPPER, COPPER_GOLD, copper, copper_gold
from sets.mlearn import read_mlearn

Frames = Sequence[LabelledStructure]

PEER = """
import json, sys, threading, time
from importlib.metadata import version
import torch
torch.set_num_threads(1)
from torchnep import train_nep
start, marks = time.process_time(), []
def watch():
    while True:
        time.sleep(0.05)
        try:
            with open("out/loss.out") as lines:
                n = sum(not line.startswith("#") for line in lines)
        except OSError:
            continue
        if n and (not marks or marks[-1][0] != n):
            marks.append((n, time.process_time() - start))
threading.Thread(target=watch, daemon=True).start()
train_nep("nep.in", "train.xyz", output_dir="out", valid_file="test.xyz", device="cpu",
          restart=False, print_interval=1000, prediction_interval=0, run_seed=int(sys.argv[1]))
time.sleep(0.2)
print("\\n" + json.dumps({"marks": marks, "version": version("torchnep") + ", torch "
                          + torch.__version__}))
"""


def shortest(function: Callable[[], object], *, repeats: int = 9) -> float:
    """Return the shortest CPU time of a call, s."""
    function()
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def print_gradient_costs(frames: Frames, architecture: NepArchitecture) -> None:
    """Print microseconds per atom of predictions and of gradients, features excluded."""
    references = fit_reference_energies(frames, architecture.elements)
    structures = [frame.structure for frame in frames]
    model = random_model(architecture, structures, np.random.default_rng(0))
    n_atoms = sum(frame.n_atoms for frame in frames)
    for precision in ("float32", "float64"):
        settings = TrainingSettings(precision=precision)
        targets = build_targets(frames, architecture, settings, reference_energies=references)
        dtype = np.dtype(precision).type
        store = FeatureStore(structures, architecture, dtype=dtype, memory_limit_MB=4000.0)
        loss = Objective(store, targets, architecture, model.q_scaler, settings)
        start = model.parameters()
        for name, function in (("E + F + W", loss.evaluate), ("gradient", loss.gradient)):
            cost = 1e6 * shortest(lambda f=function, x=start: f(x)) / n_atoms
            print(f"  {name + ', ' + precision:22s} {cost:7.2f} us/atom")


@dataclasses.dataclass(frozen=True)
class Point:
    """Where a training stood: CPU seconds, and errors on the frames to test on (eV, Å)."""

    seconds: float
    force: float
    energy: float
    virial: float

    @property
    def text(self) -> str:
        return (
            f"{self.seconds:8.1f} s  {1e3 * self.force:7.1f} meV/Å {1e3 * self.energy:6.2f} "
            f"meV/atom {1e3 * self.virial:6.1f} meV/atom"
        )


def point(seconds: float, errors: ModelErrors) -> Point:
    """Return a point from a model's errors."""
    virial = errors.total_virial_rmse
    return Point(seconds, errors.total_force_rmse, errors.energy_rmse, virial or 0.0)


def our_points(given: NepInput, train: Frames, test: Frames, n_steps: int) -> list[Point]:
    """Return the ends of trainings of so many steps, one for every seed."""
    points = []
    settings = TrainingSettings(n_adam_steps=n_steps, lambda_v=given.lambda_v)
    for seed in OPTIONS.seeds:
        start = time.process_time()
        result = train_model(train, given.architecture, settings, seed=seed)
        seconds = time.process_time() - start
        errors = model_errors(result.model, test, result.reference_energies)
        points.append(point(seconds, errors))
    return points


def middle(points: Sequence[Point]) -> Point:
    """Return the medians of points."""
    return Point(*np.median([dataclasses.astuple(p) for p in points], axis=0))


def peer_input(given: NepInput) -> str:
    """Return a nep.in for torchnep."""
    lines = [
        f"type {len(given.type)} {' '.join(given.type)}",
        f"cutoff {given.cutoff[0]} {given.cutoff[1]}",
        f"n_max {given.n_max[0]} {given.n_max[1]}",
        f"basis_size {given.basis_size[0]} {given.basis_size[1]}",
        f"l_max {' '.join(map(str, given.l_max))}",
        f"neuron {given.neuron}",
        f"lambda_e {given.lambda_e}",
        f"lambda_f {given.lambda_f}",
        f"lambda_v {given.lambda_v}",
        *OPTIONS.peer_settings.split(";"),
    ]
    return "\n".join(lines) + "\n"


def peer_curve(
    name: str, given: NepInput, train: Frames, test: Frames, seed: int
) -> tuple[list[Point], Point, str]:
    """Train with torchnep; return its curve, what it kept, and its version."""
    keep = Path(OPTIONS.keep) / f"{name}-{seed}.json" if OPTIONS.keep else None
    text = peer_input(given)
    if keep is not None and keep.exists():
        known = json.loads(keep.read_text())
        if known["input"] == text:
            return [Point(*p) for p in known["curve"]], Point(*known["end"]), known["version"]
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
        for part, frames in zip(("train", "test"), shifted, strict=True):
            write_extxyz(frames, Path(folder) / f"{part}.xyz")
        (Path(folder) / "nep.in").write_text(text)
        command = [OPTIONS.peers, "-c", PEER, str(seed)]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(f"torchnep failed:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}")
        report = json.loads(run.stdout.splitlines()[-1])
        rows = np.loadtxt(Path(folder) / "out" / "loss.out", ndmin=2)
        model = read_nep_txt(Path(folder) / "out" / "nep_best.txt")
    times = np.interp(rows[:, 0], *np.array(report["marks"]).T)
    curve = [Point(s, row[7], row[6], row[8]) for s, row in zip(times, rows, strict=True)]
    end = point(times[-1], model_errors(model, shifted[1], dict.fromkeys(given.type, 0.0)))
    if keep is not None:
        keep.parent.mkdir(parents=True, exist_ok=True)
        known = {
            "input": text,
            "curve": [dataclasses.astuple(p) for p in curve],
            "end": dataclasses.astuple(end),
            "version": report["version"],
        }
        keep.write_text(json.dumps(known))
    return curve, end, report["version"]


def compare(name: str, given: NepInput, train: Frames, test: Frames) -> None:
    """Print our errors and the peer's on one set."""
    n_atoms = sum(frame.n_atoms for frame in train)
    print(f"\n{name}: {len(train)} frames, {n_atoms} atoms to train on; {len(test)} to test on")
    print_gradient_costs(train, given.architecture)
    print(f"  held out, medians of seeds {OPTIONS.seeds}: forces, energies, virials")
    ours = []
    for n_steps in OPTIONS.steps:
        ours.append(middle(our_points(given, train, test, n_steps)))
        print(f"  ours     {n_steps:6d} steps  {ours[-1].text}", flush=True)
    if not HAS_PEER:
        return
    ends = []
    for seed in OPTIONS.peer_seeds:
        curve, end, version = peer_curve(name, given, train, test, seed)
        for share in (0.1, 0.3):
            epoch = int(share * len(curve))
            print(f"  torchnep {epoch + 1:6d} epochs {curve[epoch].text}")
        print(f"  torchnep {version}, seed {seed}: kept {end.text}", flush=True)
        ends.append(end)
    peer = middle(ends)
    soonest = next((p for p in ours if p.force <= peer.force and p.energy <= peer.energy), None)
    if soonest is None:
        print("  ours never reached what it kept")
        return
    print(
        f"  what it kept, in forces and energies, ours had after {soonest.seconds:.1f} s: "
        f"{peer.seconds / soonest.seconds:.0f} times sooner"
    )


def data_sets() -> Iterator[tuple[str, NepInput, Frames, Frames]]:
    """Yield name, hyper-parameters, frames to train on and frames to test on."""
    if "copper" in OPTIONS.emt:
        yield "copper", COPPER, *copper()
    if "copper-gold" in OPTIONS.emt:
        yield "copper-gold", COPPER_GOLD, *copper_gold()
    for folder in OPTIONS.mlearn:
        given, train, test = read_mlearn(folder)
        yield f"mlearn-{given.type[0]}", given, train, test
    for name, train, test, nep_in in OPTIONS.set:
        yield name, read_nep_in(nep_in), read_labelled(train), read_labelled(test)


def has_peer() -> bool:
    """Return whether torchnep can be measured; say so where it cannot."""
    found = subprocess.run(
        [OPTIONS.peers, "-c", "import torch, torchnep"], capture_output=True, check=False
    )
    if found.returncode:
        print("torchnep is not installed; `pip install torch torchnep`, see --peers")
    return not found.returncode


_parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
_parser.add_argument("--emt", nargs="*", default=["copper", "copper-gold"], metavar="NAME")
_parser.add_argument("--mlearn", action="append", default=[], metavar="FOLDER")
_parser.add_argument(
    "--set", nargs=4, action="append", default=[], metavar=("NAME", "TRAIN", "TEST", "NEP_IN")
)
_parser.add_argument("--steps", type=int, nargs="+", default=[250, 500, 1000, 2000, 4000, 8000])
_parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
_parser.add_argument("--peers", default=sys.executable, help="interpreter that has torchnep")
_parser.add_argument("--peer-seeds", type=int, nargs="+", default=[1])
_parser.add_argument(
    "--peer-settings",
    default="epoch 120;batch 4;lr_scheduler step;scheduler_factor 0.7;scheduler_patience 8",
    help="further lines of its nep.in, separated by semicolons",
)
_parser.add_argument("--keep", help="folder for the peer's curves")
OPTIONS = _parser.parse_args()

if __name__ == "__main__":
    HAS_PEER = has_peer()
    for data_set in data_sets():
        compare(*data_set)
