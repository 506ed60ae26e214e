"""What is the disagreement of a committee worth, from seeds alone and from bootstrap besides?

Run ``python benchmarks/committee.py [--steps N] [--mlearn DIR] [--bundle DIR] [--only SET]``. For
every set of ``benchmarks/bayes.py`` and both kinds of committee its members are trained, the bars
made from the training frames alone, and compared with the true errors on held-out frames. Columns
as there, beside them the quantiles of R over the held-out atoms (0.5, 0.9, 0.99, 1), the share of
atoms called safe by several limits of R with their largest error over the largest training error,
and the time of the further members over that of the model.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from bayes import problems
from nepal_flows.core.bayes.bars import calibration
from nepal_flows.core.calibration import rank_correlation
from nepal_flows.core.committee import bootstrap_indices, calibrated_committee
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import (
    TrainingSettings,
    fit_reference_energies,
    train_model,
)
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.io.nep_in import NepInput

SIZE = 4


def main() -> None:
    """Print one JSON line for every committee."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--mlearn", type=Path, help="data of mlearn, as benchmarks/bayes.py reads")
    parser.add_argument("--bundle", type=Path, help="exported bundle of a campaign")
    parser.add_argument("--only", default="", help="sets whose name begins so")
    asked = parser.parse_args()
    use_kernel_cache()
    settings = TrainingSettings(n_adam_steps=asked.steps, n_lbfgs_steps=0)
    for name, given, train, test in problems(asked.mlearn, asked.bundle):
        if not name.startswith(asked.only):
            continue
        start = time.perf_counter()
        model = fitted(given, train, train, settings, seed=0)
        took = time.perf_counter() - start
        for bootstrap in (False, True):
            start = time.perf_counter()
            members = [model, *(
                fitted(given, train, drawn(train, seed, bootstrap), settings, seed=seed)
                for seed in range(1, SIZE)
            )]  # fmt: skip
            row = worth(members, train, test)
            row["cost"] = round((time.perf_counter() - start) / took, 2)
            print(json.dumps({"set": name, "bootstrap": bootstrap} | row), flush=True)


def drawn(frames: list[LabelledStructure], seed: int, bootstrap: bool) -> list[LabelledStructure]:
    """Return the frames of a member."""
    if not bootstrap:
        return frames
    structures = [frame.structure for frame in frames]
    return [frames[k] for k in bootstrap_indices([0] * len(frames), structures, seed=seed)]


def fitted(
    given: NepInput,
    whole: list[LabelledStructure],
    frames: list[LabelledStructure],
    settings: TrainingSettings,
    *,
    seed: int,
) -> NepModel:
    """Return a fit to some frames, with the reference energies of all."""
    references = fit_reference_energies(whole, given.architecture.elements)
    return train_model(
        frames, given.architecture, settings, reference_energies=references, seed=seed
    ).model


def worth(
    members: list[NepModel], train: list[LabelledStructure], test: list[LabelledStructure]
) -> dict[str, float | list[float]]:
    """Return what the bars of a committee were worth."""
    committee = calibrated_committee(members, train)
    bars = [committee.bars(frame.structure) for frame in test]
    found = predict_many(members[0], [frame.structure for frame in test])
    errors = np.concatenate([p.forces - f.forces for p, f in zip(found, test, strict=True)])
    fits = predict_many(members[0], [frame.structure for frame in train])
    trained = np.concatenate([p.forces - f.forces for p, f in zip(fits, train, strict=True)])
    ratios = np.concatenate([bar.ratios for bar in bars])
    forces = np.concatenate([bar.forces for bar in bars])
    sizes = np.linalg.norm(errors, axis=1)
    checked = calibration(forces, errors)
    assert checked is not None
    row: dict[str, float | list[float]] = {
        "test": 1e3 * float(np.sqrt(np.mean(errors**2))),
        "train": 1e3 * float(np.sqrt(np.mean(trained**2))),
        "spread": 1e3 * committee.training_deviation,
        "c": committee.force_scale,
        "z": checked.factor,
        "1s": checked.within_one,
        "2s": checked.within_two,
        "rho": rank_correlation(forces, sizes) or 0.0,
        "R": [float(value) for value in np.quantile(ratios, [0.5, 0.9, 0.99, 1.0])],
    }
    largest = np.linalg.norm(trained, axis=1).max()
    for limit in (1.0, 1.5, 2.0, 3.0):
        safe = ratios < limit
        row[f"safe {limit:g}"] = [float(safe.mean()), float(sizes[safe].max(initial=0.0) / largest)]
    return {key: _rounded(value) for key, value in row.items()}


def _rounded(value: float | list[float]) -> float | list[float]:
    return [round(v, 3) for v in value] if isinstance(value, list) else round(value, 3)


if __name__ == "__main__":
    main()
