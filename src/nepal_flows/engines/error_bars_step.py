"""Error bars of the structures in a file, from files to a file."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nepal_flows.core.bayes.bars import Calibration, FrameBars, calibration, frame_bars
from nepal_flows.core.bayes.evidence import Posterior, posterior
from nepal_flows.core.bayes.features import Layer
from nepal_flows.core.bayes.gram import gram_matrices
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import fit_reference_energies
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.input_frames import Progress, by_frame
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import FileFrame, read_frames, read_labelled


@dataclass(frozen=True, eq=False)
class ErrorBarsFile:
    """What ``error_bars_file`` made.

    Attributes
    ----------
    path
        The extended XYZ file, with ``force_bar`` (eV/Å) and ``ratio`` (R) per atom, and
        ``energy_bar`` (eV/atom), ``force_rmse_bar``, ``max_force_bar`` (eV/Å) and ``stress_bar``
        (GPa; xx, yy, zz, xy, yz, zx) per frame.
    bars
        Of every frame.
    posterior
        Of the model and its training frames.
    calibration
        What the bars were worth on those frames that are labelled; None where none is.
    """

    path: Path
    bars: tuple[FrameBars, ...]
    posterior: Posterior
    calibration: Calibration | None


def error_bars_file(
    model_path: str | Path,
    train_path: str | Path,
    structures_path: str | Path,
    out: str | Path,
    *,
    layer: Layer = "all",
    n_threads: int = 1,
    progress: Progress | None = None,
) -> ErrorBarsFile:
    """Write the Bayesian error bars of the structures in a file.

    Parameters
    ----------
    model_path
        The nep.txt.
    train_path
        The labelled frames it was trained on. Their energies count up to one energy per element,
        so it does not matter which reference energies were taken off.
    structures_path
        Structures, any format ASE reads; where they are labelled, bars are compared with errors.
    out
        Extended XYZ file to write.
    layer
        ``all`` parameters of the networks, or the ``last`` layer.
    n_threads
        Threads, over structures.
    progress
        Called after every structure.

    Raises
    ------
    InputError, ModelError, TrainingError
        If a file or an option cannot be used.
    """
    model = read_nep_txt(model_path)
    train = read_labelled(train_path)
    frames = read_frames(structures_path)
    references = _references(model, train, n_threads)
    gram = gram_matrices(model, train, references, layer=layer, n_threads=n_threads)
    found = posterior(model, gram, layer=layer).in_single_precision()
    structures = [frame.structure for frame in frames]
    bars = by_frame(
        lambda structure: frame_bars(found, model, structure),
        structures,
        source=structures_path,
        n_threads=n_threads,
        progress=progress,
    )
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_extxyz(
        structures,
        path,
        info=[
            {
                "energy_bar": bar.energy,
                "force_rmse_bar": bar.force_rms,
                "max_force_bar": bar.largest_force,
                "stress_bar": bar.stress,
            }
            for bar in bars
        ],
        arrays=[{"force_bar": bar.forces, "ratio": bar.ratios} for bar in bars],
    )
    return ErrorBarsFile(path, tuple(bars), found, _worth(model, frames, bars, n_threads))


def _references(
    model: NepModel, train: Sequence[LabelledStructure], n_threads: int
) -> dict[str, float]:
    """Return the energies per element that bring labels and model together."""
    predictions = predict_many(model, [frame.structure for frame in train], n_threads=n_threads)
    differences = [
        replace(frame, energy=frame.energy - prediction.energy)
        for frame, prediction in zip(train, predictions, strict=True)
    ]
    return fit_reference_energies(differences, model.elements)


def _worth(
    model: NepModel, frames: Sequence[FileFrame], bars: Sequence[FrameBars], n_threads: int
) -> Calibration | None:
    pairs = [
        (frame.label, bar)
        for frame, bar in zip(frames, bars, strict=True)
        if frame.label is not None
    ]
    if not pairs:
        return None
    predictions = predict_many(model, [label.structure for label, _ in pairs], n_threads=n_threads)
    errors = [p.forces - label.forces for p, (label, _) in zip(predictions, pairs, strict=True)]
    return calibration(np.concatenate([bar.forces for _, bar in pairs]), np.concatenate(errors))


__all__ = ["ErrorBarsFile", "error_bars_file"]
