"""Is the Bayesian error bar right, what does it cost, and how does it rank beside the grade?

Run ``python benchmarks/bayes.py [--mlearn DIR] [--bundle DIR]``. For every set and number of labels
a model is trained, its posterior made from the training frames alone, and the bars compared
with the true errors on frames that were held out. ``z`` is the root mean square of error over bar
(1 is right), ``1s`` and ``2s`` the shares of force components within one and two bars (0.68, 0.95),
``rho`` Spearman's rank correlation of bar, grade gamma and predicted force with the true error over
all atoms; ``unsafe`` the largest true error of an atom with R < 2 (gamma < 5) over the largest
training error, and the share of atoms so called. Times are the best of several, one thread, as
multiples of one energy-and-forces call on the same frame with the list kept.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from ase.build import bulk

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.bayes.bars import bars_by_frame, calibration, frame_bars
from nepal_flows.core.bayes.evidence import Posterior, posterior
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.bayes.gram import VOIGT, gram_matrices
from nepal_flows.core.calibration import rank_correlation
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict, predict_many
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.nep.training import TrainingSettings, reference_energy, train_model
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.io.nep_in import NepInput, read_nep_in
from nepal_flows.io.structures import read_labelled
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA
from sets.emt import COPPER, COPPER_GOLD, copper, copper_gold
from sets.mlearn import read_mlearn

Frames = list[LabelledStructure]
Problem = tuple[str, NepInput, Frames, Frames]


def problems(mlearn: Path | None, bundle: Path | None) -> Iterator[Problem]:
    """Yield name, hyper-parameters, training and held-out frames."""
    for name, given, (train, test) in (
        ("EMT Cu", COPPER, copper()),
        ("EMT CuAu", COPPER_GOLD, copper_gold()),
    ):
        order = np.random.default_rng(0).permutation(len(train))
        for count in (12, 32, len(train)):
            yield f"{name}, {count} labels", given, [train[k] for k in order[:count]], test
    if bundle is not None:
        given = read_nep_in(bundle / "nep.in")
        train, test = (list(read_labelled(bundle / f"{part}.xyz")) for part in ("train", "test"))
        yield f"Si DFT campaign, {len(train)} labels", given, train, test
    if mlearn is not None:
        for folder in sorted(path for path in mlearn.iterdir() if path.is_dir()):
            given, train, test = read_mlearn(folder)
            order = np.random.default_rng(0).permutation(len(train))
            for count in (40, len(train)):
                frames = [train[k] for k in order[:count]]
                yield f"{folder.name} DFT (mlearn), {count} labels", given, frames, test


def rms(values: np.ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.asarray(values) ** 2)))


def compared(problem: Problem, *, n_steps: int) -> dict[str, float | str]:
    """Return what the bars of one problem were worth."""
    name, given, train, test = problem
    result = train_model(train, given.architecture, TrainingSettings(n_adam_steps=n_steps))
    model = result.model
    start = time.perf_counter()
    gram = gram_matrices(model, train, result.reference_energies)
    gram_s = time.perf_counter() - start
    row: dict[str, float | str] = {"problem": name, "gram_s": gram_s}
    start = time.perf_counter()
    found = posterior(model, gram)
    row |= {"evidence_s": time.perf_counter() - start, "iterations": found.n_iterations}
    row |= {"P": len(found.root), "determined": found.n_determined}
    row |= {"c_E": found.scales[0], "c_F": found.scales[1], "c_V": found.scales[2]}
    row |= calibrated(model, found, result.reference_energies, test)
    row |= ranked(model, found, train, test, largest=result.training_errors.total_force_max)
    row["train_meV_A"] = 1e3 * result.training_errors.total_force_rmse
    last = posterior(model, gram_matrices(model, train, result.reference_energies, layer="last"),
                     layer="last")  # fmt: skip
    bars = np.concatenate([b.forces for b in bars_by_frame(last, model, structures(test))])
    row["z_last_layer"] = calibration(bars, force_errors(model, test)).factor
    return row


def structures(frames: Frames) -> list[Structure]:
    """Return the structures of labelled frames."""
    return [frame.structure for frame in frames]


def force_errors(model: NepModel, frames: Frames) -> np.ndarray:
    """Return predicted minus true forces of all atoms, eV/Å."""
    found = predict_many(model, structures(frames))
    return np.concatenate([p.forces - f.forces for p, f in zip(found, frames, strict=True)])


def calibrated(
    model: NepModel, found: Posterior, references: dict[str, float], test: Frames
) -> dict[str, float]:
    """Return how right the bars are on held-out frames."""
    bars = bars_by_frame(found, model, structures(test))
    errors = force_errors(model, test)
    of_atoms = np.concatenate([bar.forces for bar in bars])
    forces = calibration(of_atoms, errors)
    energy, stress = [], []
    for frame, bar in zip(test, bars, strict=True):
        prediction = predict(model, frame.structure)
        reference = frame.energy - reference_energy(frame.structure, references)
        energy.append((prediction.energy - reference) / frame.n_atoms / bar.energy)
        if frame.virial is not None:
            error = (prediction.virial - frame.virial)[VOIGT] / frame.structure.volume
            # Components that vanish by symmetry have no bar: compared are whole tensors.
            stress.append(rms(error) * EV_PER_CUBIC_ANGSTROM_TO_GPA / rms(bar.stress))
    return {
        "test_meV_A": 1e3 * rms(errors), "expected_meV_A": 1e3 * rms(of_atoms),
        "z": forces.factor, "1s": forces.within_one, "2s": forces.within_two,
        "z_raw": forces.factor * found.force_scale, "z_energy": rms(np.array(energy)),
        "z_stress": rms(np.array(stress)) if stress else np.nan,
    }  # fmt: skip


def ranked(
    model: NepModel, found: Posterior, train: Frames, test: Frames, *, largest: float
) -> dict[str, float]:
    """Return rank correlations with the true error, and what R and gamma called safe."""
    bars = bars_by_frame(found, model, structures(test))
    errors = np.linalg.norm(force_errors(model, test), axis=1)
    ratios = np.concatenate([bar.ratios for bar in bars])
    active = build_active_set(
        [projection_factors(model, s) for s in structures(train)], model.elements
    )
    gamma = np.concatenate(
        [structure_grades(active, projection_factors(model, s)) for s in structures(test)]
    )
    forces = np.concatenate([predict(model, s).forces for s in structures(test)])
    by_frame = [(rms(b.forces), e) for b, e in zip(bars, np.split(
        errors, np.cumsum([f.n_atoms for f in test])[:-1]), strict=True)]  # fmt: skip
    row = {
        "rho": rank_correlation(ratios, errors), "rho_gamma": rank_correlation(gamma, errors),
        "rho_force": rank_correlation(np.linalg.norm(forces, axis=1), errors),
        "rho_frames": rank_correlation(
            np.array([b for b, _ in by_frame]), np.array([rms(e) for _, e in by_frame])),
    }  # fmt: skip
    for key, safe in (("R<2", ratios < 2.0), ("gamma<5", gamma < 5.0)):
        row[f"safe {key}"] = float(safe.mean())
        row[f"unsafe {key}"] = float(errors[safe].max() / largest) if safe.any() else 0.0
    return row


def best(function: Callable[[], object], *, repeats: int = 15) -> float:
    """Return the shortest time, s."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def costs(elements: tuple[str, ...], n_neurons: int) -> dict[str, float | str]:
    """Return times on a frame of 108 atoms."""
    given = NepInput(
        type=elements, cutoff=(6.0, 5.0), n_max=(4, 4), basis_size=(8, 8), l_max=(4, 2, 0),
        neuron=n_neurons,
    )  # fmt: skip
    train, _ = copper() if len(elements) == 1 else copper_gold()
    result = train_model(train[:8], given.architecture, TrainingSettings(n_adam_steps=50))
    model = result.model
    found = posterior(model, gram_matrices(model, train[:8], result.reference_energies))
    single = found.in_single_precision()
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.rattle(0.08, seed=1)
    atoms.numbers[::2] = 79 if len(elements) == 2 else 29
    structure = Structure(atoms.numbers, atoms.positions, atoms.cell.array)
    near = neighbour_list(structure, model.architecture.largest_cutoff)
    times = {
        name: best(partial(function, *arguments, neighbours=near))
        for name, function, arguments in (
            ("force call", predict, (model, structure)),
            ("features", frame_features, (model, structure)),
            ("last layer", partial(frame_features, layer="last"), (model, structure)),
            ("bars", frame_bars, (found, model, structure)),
            ("bars in float32", frame_bars, (single, model, structure)),
        )
    }
    exact, rounded = (frame_bars(p, model, structure).forces for p in (found, single))
    row: dict[str, float | str] = {"model": f"{elements}, {n_neurons} neurons"}
    row |= {"P": len(found.root), "features ms": 1e3 * times["features"]}
    row |= {name: seconds / times["force call"] for name, seconds in times.items()}
    row["float32 deviation"] = float(np.abs(rounded / exact - 1.0).max())
    return row


def main() -> None:
    """Print one JSON line per row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlearn", type=Path, help="folder with folders Si, Ge, Li of mlearn")
    parser.add_argument("--bundle", type=Path, help="folder that `nepal export` wrote")
    parser.add_argument("--steps", type=int, default=3000, help="training steps")
    parser.add_argument("--only", choices=("costs", "calibration"))
    options = parser.parse_args()
    use_kernel_cache()
    if options.only != "calibration":
        for elements, n_neurons in ((("Cu",), 20), (("Cu",), 30), (("Cu", "Au"), 20)):
            print(json.dumps(costs(elements, n_neurons)), flush=True)
    if options.only != "costs":
        for problem in problems(options.mlearn, options.bundle):
            print(json.dumps(compared(problem, n_steps=options.steps)), flush=True)


if __name__ == "__main__":
    main()
