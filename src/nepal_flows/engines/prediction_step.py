"""Energies, forces and virials of the structures in a file, from a file to a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.elements import symbols_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict
from nepal_flows.core.nep.training import model_errors
from nepal_flows.core.repeats import contradiction, repeated_structures
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.input_frames import Progress, by_frame
from nepal_flows.errors import ModelError
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import FileFrame, read_frames
from nepal_flows.typing import FloatArray


@dataclass(frozen=True)
class LabelledErrors:
    """How far predictions are from the labels of the same file.

    Attributes
    ----------
    n_structures
        Frames compared.
    energy_rmse
        After the best shift of energies per atom of each element, eV/atom.
    force_rmse
        Over components, eV/Å.
    virial_rmse
        Over the six independent components, eV/atom; None where no frame has a virial.
    """

    n_structures: int
    energy_rmse: float
    force_rmse: float
    virial_rmse: float | None


@dataclass(frozen=True, eq=False)
class PredictedFile:
    """What ``predict_file`` made.

    Attributes
    ----------
    path
        The extended XYZ file.
    n_atoms
        Atoms of every frame, shape (n_frames,).
    energies
        Energies per frame, shape (n_frames,), eV.
    largest_forces
        Largest force on an atom per frame, shape (n_frames,), eV/Å.
    errors
        Against the labels of the input, over the frames that have usable ones; None without any.
    left_out
        Why the other frames were left out of the errors, by frame; empty where no frame is
        labelled at all.
    """

    path: Path
    n_atoms: FloatArray
    energies: FloatArray
    largest_forces: FloatArray
    errors: LabelledErrors | None
    left_out: Mapping[int, str]


def predict_file(
    model_path: str | Path,
    structures_path: str | Path,
    out: str | Path,
    *,
    reference_energies: dict[str, float] | None = None,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> PredictedFile:
    """Write energies, forces and virials of the structures in a file.

    Parameters
    ----------
    model_path
        The nep.txt.
    structures_path
        Structures, any format ASE reads; labels, where frames have them, are compared with.
    out
        Extended XYZ file to write.
    reference_energies
        Energy per atom by element that was subtracted before training, eV; it is added.
    n_threads
        Threads, over structures.
    progress
        Called after every structure.

    Raises
    ------
    InputError, ModelError
        If a file cannot be used, or the model lacks an element; the message names the frame.
    """
    model = read_nep_txt(model_path)
    frames = read_frames(structures_path)
    structures = [frame.structure for frame in frames]
    offsets = _offsets(model, structures, reference_energies)
    predictions = by_frame(
        lambda structure: _finite(predict(model, structure)),
        structures,
        source=structures_path,
        n_threads=n_threads,
        progress=progress,
    )
    predicted = [
        LabelledStructure(s, p.energy + offset, p.forces, 0.5 * (p.virial + p.virial.T))
        for s, p, offset in zip(structures, predictions, offsets, strict=True)
    ]
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_extxyz(predicted, path)
    left_out = _left_out(frames)
    compared = [
        (frame.label, prediction)
        for index, (frame, prediction) in enumerate(zip(frames, predictions, strict=True))
        if frame.label is not None and index not in left_out
    ]
    return PredictedFile(
        path=path,
        n_atoms=np.array([structure.n_atoms for structure in structures], dtype=np.float64),
        energies=np.array([frame.energy for frame in predicted]),
        largest_forces=np.array([np.linalg.norm(p.forces, axis=1).max() for p in predictions]),
        errors=_errors(model, *zip(*compared, strict=True)) if compared else None,
        left_out=left_out,
    )


def _finite(prediction: Prediction) -> Prediction:
    """Return a prediction, unless the potential gives no number for its structure."""
    values = (prediction.atomic_energies, prediction.forces, prediction.virial)
    if not all(np.isfinite(value).all() for value in values):
        raise ModelError(
            "The potential gives NaN or infinity. Atoms are too close for it, or its parameters "
            "are no numbers: look at the frame, then at nep.txt."
        )
    return prediction


def _left_out(frames: Sequence[FileFrame]) -> dict[int, str]:
    """Return why frames cannot be compared with: no usable label, or two that contradict.

    A file without any label asks for no comparison.
    """
    labelled = {k: frame.label for k, frame in enumerate(frames) if frame.label is not None}
    reasons = {k: frame.reason for k, frame in enumerate(frames) if frame.reason is not None}
    if not labelled and not reasons:
        return {}
    bare = set(range(len(frames))) - set(labelled) - set(reasons)
    reasons |= dict.fromkeys(bare, "no energy and no forces")
    indices = list(labelled)
    for a, b in repeated_structures([frames[k].structure for k in indices]):
        first, second = indices[a], indices[b]
        reason = contradiction(labelled[first], labelled[second])
        if reason is not None:
            reasons[first] = f"frame {second} is the same structure, but {reason}"
            reasons[second] = f"frame {first} is the same structure, but {reason}"
    return dict(sorted(reasons.items()))


def _offsets(
    model: NepModel, structures: Sequence[Structure], energies: dict[str, float] | None
) -> list[float]:
    if energies is None:
        return [0.0] * len(structures)
    missing = sorted(set(model.elements) - set(energies))
    if missing:
        raise ModelError(f"The reference energies lack {', '.join(missing)} of the model.")
    return [sum(energies.get(s, 0.0) for s in symbols_of(frame.numbers)) for frame in structures]


def _errors(
    model: NepModel, labels: Sequence[LabelledStructure], predictions: Sequence[Prediction]
) -> LabelledErrors:
    errors = model_errors(
        model, labels, dict.fromkeys(model.elements, 0.0), predictions=predictions
    )
    numbers = sorted({int(n) for frame in labels for n in frame.structure.numbers})
    shares = np.array(
        [[np.mean(frame.structure.numbers == n) for n in numbers] for frame in labels]
    )
    shifts, *_ = np.linalg.lstsq(shares, errors.energy_errors, rcond=None)
    return LabelledErrors(
        n_structures=len(labels),
        energy_rmse=float(np.sqrt(np.mean((errors.energy_errors - shares @ shifts) ** 2))),
        force_rmse=errors.total_force_rmse,
        virial_rmse=errors.total_virial_rmse,
    )


__all__ = ["LabelledErrors", "PredictedFile", "predict_file"]
