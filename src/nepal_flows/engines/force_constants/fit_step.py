"""Force constants from files to files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.force_constants.analysis import (
    Vibrations,
    anharmonicity,
    phonon_frequencies,
    phonon_supercell,
    special_points,
    vibrations,
)
from nepal_flows.engines.force_constants.files import (
    SECOND_ORDER,
    write_force_constants,
    write_second_order,
)
from nepal_flows.engines.force_constants.model import (
    ForceConstantBasis,
    ForceConstantFit,
    fit_force_constants,
)
from nepal_flows.errors import InputError
from nepal_flows.io.replacing import replaced_text
from nepal_flows.io.structures import read_labelled, read_structures
from nepal_flows.typing import FloatArray

SUMMARY = "force_constants.json"
FOLDS = 5
"""Parts that the frames are split into: errors are those of fits without the part."""


@dataclass(frozen=True, eq=False)
class FittedForceConstants:
    """What `nepal force-constants` found.

    Attributes
    ----------
    parameters_by_order
        Number of parameters of the second order and those that follow.
    n_frames
        Frames of the fit.
    training_rmse, holdout_rmse
        Root-mean-square error of force components, eV/Å: in training, and by cross-validation
        in five parts; None where there is one frame.
    calibration
        Root-mean-square error over root-mean-square error bar in the cross-validation: 1 is right.
    points
        Wave vectors by name, in reciprocal vectors of the primitive cell.
    frequencies_THz
        At rest, shape (n_points, n_branches); imaginary ones are negative.
    anharmonicity
        Of the labelled frames.
    vibrations
        With temperature.
    """

    parameters_by_order: tuple[int, ...]
    n_frames: int
    training_rmse: float
    holdout_rmse: float | None
    calibration: float | None
    points: dict[str, tuple[float, ...]]
    frequencies_THz: FloatArray
    anharmonicity: float
    vibrations: tuple[Vibrations, ...]


def fit_file(
    supercell: str | Path,
    frames: str | Path,
    *,
    cutoffs_A: Sequence[float],
    temperatures_K: Sequence[float] = (),
    thermal: Mapping[float, str | Path] | None = None,
    out: str | Path,
    n_samples: int = 40,
    seed: int = 0,
) -> FittedForceConstants:
    """Fit force constants, measure their errors, and write them with their frequencies.

    Parameters
    ----------
    supercell
        File of the ideal supercell.
    frames
        Labelled frames: the same atoms in the same order and cell, displaced.
    cutoffs_A
        For the second order and those that follow, Å.
    temperatures_K
        Where the crystal's dynamics is sampled with the expansion.
    thermal
        Files with frames of dynamics by any other model (first principles, a NEP), with forces, by
        their temperature.
    out
        Folder for the force constants (hiPhive's and phonopy's files) and the summary.
    n_samples
        Frames to sample at each temperature.
    seed
        Of the sampled dynamics, and of the parts of the cross-validation.

    Raises
    ------
    InputError
        If a file cannot be used, or frames are not displaced supercells.
    EngineError
        If the force constants do not hold the crystal together at a temperature.
    """
    ideal = read_structures(supercell)[0]
    labelled = _with_forces(frames)
    given = {float(t): _with_forces(file) for t, file in (thermal or {}).items()}
    temperatures = sorted({*map(float, temperatures_K), *given})
    basis = ForceConstantBasis(ideal, ideal, cutoffs_A)
    fit = fit_force_constants(basis, labelled)
    rmse, calibration = _held_out(basis, labelled, seed)
    points = special_points(basis)
    repeats = phonon_supercell(basis)
    found = FittedForceConstants(
        parameters_by_order=tuple(np.bincount(basis.groups).tolist()),
        n_frames=len(labelled),
        training_rmse=fit.posterior.rmse,
        holdout_rmse=rmse,
        calibration=calibration,
        points=points,
        frequencies_THz=phonon_frequencies(
            fit.parameters, basis, list(points.values()), repeats=repeats
        ),
        anharmonicity=anharmonicity(fit, labelled),
        vibrations=tuple(
            vibrations(
                fit,
                ideal,
                temperature,
                list(points.values()),
                repeats=repeats,
                frames=given.get(temperature),
                n_frames=n_samples,
                seed=seed,
            )
            for temperature in temperatures
        ),
    )
    _write(Path(out), fit, found)
    return found


def _with_forces(file: str | Path) -> list[LabelledStructure]:
    labelled = read_labelled(file)
    if any(frame.forces is None for frame in labelled):
        raise InputError(f"`{file}` has frames without forces, which force constants are fit to.")
    return labelled


def _held_out(
    basis: ForceConstantBasis, frames: Sequence[LabelledStructure], seed: int
) -> tuple[float | None, float | None]:
    """Return the error on frames that a fit did without, each once, and that over its bars."""
    n_folds = min(FOLDS, len(frames))
    if n_folds < 2:
        return None, None
    errors, bars = np.zeros(len(frames)), np.zeros(len(frames))
    order = np.random.default_rng(seed).permutation(len(frames))
    for fold in np.array_split(order, n_folds):
        others = np.setdiff1d(order, fold)
        fit = fit_force_constants(basis, [frames[k] for k in others])
        for index in fold:
            structure, forces = frames[index].structure, np.asarray(frames[index].forces)
            errors[index] = np.mean((fit.forces(structure) - forces) ** 2)
            bars[index] = np.mean(fit.force_errors(structure) ** 2) / 3.0
    rmse = float(np.sqrt(errors.mean()))
    return rmse, rmse / float(np.sqrt(bars.mean()))


def _write(folder: Path, fit: ForceConstantFit, found: FittedForceConstants) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_force_constants(fit, folder)
    for one in found.vibrations:
        write_second_order(one.force_constants, folder / f"{SECOND_ORDER}_{one.temperature_K:g}K")
    with replaced_text(folder / SUMMARY) as stream:
        stream.write(json.dumps(summary(found), indent=1) + "\n")


def summary(found: FittedForceConstants) -> dict[str, object]:
    """Return what was found as plain values."""
    content = {name: value for name, value in vars(found).items() if name != "vibrations"}
    content["frequencies_THz"] = found.frequencies_THz.tolist()
    content["vibrations"] = [
        {
            "temperature_K": one.temperature_K,
            "n_frames": one.n_frames,
            "anharmonicity": one.anharmonicity,
            "frequencies_THz": one.frequencies_THz.tolist(),
        }
        for one in found.vibrations
    ]
    return content


__all__ = ["FittedForceConstants", "fit_file", "summary"]
