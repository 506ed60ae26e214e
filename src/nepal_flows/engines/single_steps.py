"""The steps of the loop one by one, from files to files; each is also a command.

``predict_file``, ``active_set_file`` and ``grade_file`` are here, selection is in
``engines.selection_step``, training in ``engines.native_training``.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.elements import SYMBOLS, symbols_of
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import ActiveSetError, InputError, LabelledDataError, ModelError
from nepal_flows.io.asi import inverses_by_type, pack_active_set, read_asi, write_asi
from nepal_flows.io.asi import unpack_active_set as unpack
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_labelled, read_structures
from nepal_flows.typing import FloatArray

Progress = Callable[[int, int], None]
"""Called with the number done and the number in all."""

MASTER_SUFFIX = ".npz"
"""Ending of the compressed master beside an .asi file: it knows its model and its rows."""

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class LabelledErrors:
    """How far predictions are from the labels of the same file.

    Attributes
    ----------
    energy_rmse
        After the best shift of energies per atom of each element, eV/atom.
    force_rmse
        Over components, eV/Å.
    virial_rmse
        Over components, eV/atom; None where no frame has a virial.
    """

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
        Against the labels of the input, where all its frames are labelled.
    """

    path: Path
    n_atoms: FloatArray
    energies: FloatArray
    largest_forces: FloatArray
    errors: LabelledErrors | None


@dataclass(frozen=True, eq=False)
class GradedFile:
    """What ``grade_file`` made.

    Attributes
    ----------
    path
        The extended XYZ file, with ``gamma`` per atom and ``max_gamma`` per frame.
    grades
        Largest grade of every frame, shape (n_frames,).
    by_element
        Largest grade of any atom, by chemical symbol.
    is_verified
        Whether the active set was shown to belong to the model (its master lies beside it).
    """

    path: Path
    grades: FloatArray
    by_element: dict[str, float]
    is_verified: bool


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
        Structures, any format ASE reads; labels, if all frames have them, are compared with.
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
        If a file cannot be used, or the model lacks an element.
    """
    model = read_nep_txt(model_path)
    labelled, structures = _frames(structures_path)
    offsets = _offsets(model, structures, reference_energies)
    predictions = threaded(
        lambda structure: predict(model, structure), structures, n_threads, progress=progress
    )
    frames = [
        LabelledStructure(s, p.energy + offset, p.forces, 0.5 * (p.virial + p.virial.T))
        for s, p, offset in zip(structures, predictions, offsets, strict=True)
    ]
    path = write_extxyz(frames, _prepared(out))
    return PredictedFile(
        path=path,
        n_atoms=np.array([structure.n_atoms for structure in structures], dtype=np.float64),
        energies=np.array([frame.energy for frame in frames]),
        largest_forces=np.array([_largest_norm(p.forces) for p in predictions]),
        errors=None if labelled is None else _errors(labelled, predictions),
    )


def active_set_file(
    model_path: str | Path,
    train_path: str | Path,
    out: str | Path,
    *,
    variant: str = "subspace",
    rcond: float | None = None,
    memory_limit_MB: float = 2000.0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> ActiveSet:
    """Write the active set of a model and its training frames, as GPUMD reads it.

    A compressed master of the same name, ending in ``.npz``, is written beside it: it binds the
    active set to the model by its hash.

    Parameters
    ----------
    model_path
        The nep.txt.
    train_path
        Training frames, any format ASE reads, oldest first; labels are not needed.
    out
        The .asi file to write.
    variant, rcond
        ``subspace`` or ``full``, and the cut of singular values; see ``build_active_set``.
    memory_limit_MB
        Bound on the working memory.
    n_threads
        Threads.
    progress
        Called after every structure.

    Raises
    ------
    InputError, ModelError, ActiveSetError
        If a file or an option cannot be used.
    """
    out = _prepared(out)
    if out.suffix == MASTER_SUFFIX:
        raise InputError(
            f"`{out}` would be overwritten by the compressed master of the same name. "
            "Give `--out` the ending `.asi`."
        )
    if variant not in ("subspace", "full"):
        raise ActiveSetError(f"`variant` is {variant!r}, expected `subspace` or `full`.")
    model = read_nep_txt(model_path)
    active_set = build_active_set(
        file_factors(model, train_path, n_threads=n_threads, progress=progress),
        model.elements,
        variant="subspace" if variant == "subspace" else "full",
        rcond=rcond,
        model_sha256=model_sha256(Path(model_path).read_bytes()),
        memory_limit_MB=memory_limit_MB,
        n_threads=n_threads,
    )
    write_asi(active_set, out)
    master = out.with_suffix(MASTER_SUFFIX)
    partial = master.with_name(master.name + ".partial")
    try:
        partial.write_bytes(pack_active_set(active_set))
        partial.replace(master)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return active_set


def grade_file(
    model_path: str | Path,
    active_set_path: str | Path,
    structures_path: str | Path,
    out: str | Path,
    *,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> GradedFile:
    """Write the extrapolation grade of every atom of the structures in a file.

    Parameters
    ----------
    model_path
        The nep.txt.
    active_set_path
        The .asi file, or the compressed master beside it.
    structures_path
        Structures, any format ASE reads.
    out
        Extended XYZ file to write.
    n_threads
        Threads, over structures.
    progress
        Called after every structure.

    Raises
    ------
    InputError, ModelError, ActiveSetError
        If a file cannot be used, or model and active set do not belong together.
    """
    model = read_nep_txt(model_path)
    sha256 = model_sha256(Path(model_path).read_bytes())
    inverses, is_verified = _inverses(model, active_set_path, sha256)
    structures = read_structures(structures_path)
    out = _prepared(out)
    grades = threaded(
        lambda structure: structure_grades(inverses, projection_factors(model, structure)),
        structures,
        n_threads,
        progress=progress,
    )
    by_element: dict[str, float] = {}
    for structure, own in zip(structures, grades, strict=True):
        for number in np.unique(structure.numbers):
            largest = float(own[structure.numbers == number].max())
            symbol = SYMBOLS[number]
            by_element[symbol] = max(largest, by_element.get(symbol, 0.0))
    largest_grades = np.array([float(own.max()) for own in grades])
    path = write_extxyz(
        structures,
        out,
        info=[{"max_gamma": float(grade)} for grade in largest_grades],
        arrays=[{"gamma": own} for own in grades],
    )
    return GradedFile(path, largest_grades, by_element, is_verified)


def file_factors(
    model: NepModel,
    path: str | Path,
    *,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> list[ProjectionFactors]:
    """Return the factors of the B-projections of every frame in a file."""
    structures = read_structures(path)
    return threaded(
        lambda structure: projection_factors(model, structure),
        structures,
        n_threads,
        progress=progress,
    )


def threaded(
    function: Callable[[S], T],
    items: Sequence[S],
    n_threads: int,
    *,
    progress: Progress | None = None,
) -> list[T]:
    """Return the function's value for every item, in order, on several threads."""

    def counted(values: Iterable[T]) -> list[T]:
        results = []
        for value in values:
            results.append(value)
            if progress is not None:
                progress(len(results), len(items))
        return results

    if n_threads <= 1 or len(items) < 2:
        return counted(map(function, items))
    first = function(items[0])  # compiled kernels are loaded once, not by every thread
    with ThreadPoolExecutor(n_threads) as pool:
        return counted(itertools.chain([first], pool.map(function, items[1:])))


def _frames(path: str | Path) -> tuple[list[LabelledStructure] | None, list[Structure]]:
    """Return the frames with labels where all have them, and as structures."""
    try:
        labelled = read_labelled(path)
    except LabelledDataError:
        return None, read_structures(path)
    return labelled, [frame.structure for frame in labelled]


def _offsets(
    model: NepModel, structures: Sequence[Structure], energies: dict[str, float] | None
) -> list[float]:
    if energies is None:
        return [0.0] * len(structures)
    missing = sorted(set(model.elements) - set(energies))
    if missing:
        raise ModelError(f"The reference energies lack {', '.join(missing)} of the model.")
    return [sum(energies[s] for s in symbols_of(frame.numbers)) for frame in structures]


def _errors(
    labelled: Sequence[LabelledStructure], predictions: Sequence[Prediction]
) -> LabelledErrors:
    numbers = sorted({int(n) for frame in labelled for n in frame.structure.numbers})
    sizes = np.array([frame.n_atoms for frame in labelled], dtype=np.float64)
    shares = np.array(
        [[(f.structure.numbers == n).sum() / f.n_atoms for n in numbers] for f in labelled]
    )
    energies = np.array([frame.energy for frame in labelled]) / sizes
    residuals = energies - np.array([p.energy for p in predictions]) / sizes
    shifts, *_ = np.linalg.lstsq(shares, residuals, rcond=None)
    forces = np.concatenate(
        [(p.forces - f.forces).ravel() for p, f in zip(predictions, labelled, strict=True)]
    )
    virials = [
        (p.virial - f.virial).ravel() / f.n_atoms
        for p, f in zip(predictions, labelled, strict=True)
        if f.virial is not None
    ]
    return LabelledErrors(
        energy_rmse=_rms(residuals - shares @ shifts),
        force_rmse=_rms(forces),
        virial_rmse=_rms(np.concatenate(virials)) if virials else None,
    )


def _inverses(model: NepModel, path: str | Path, sha256: str) -> tuple[FloatArray, bool]:
    """Return M by type, and whether it was shown to be this model's."""
    path = Path(path)
    is_master = path.suffix == MASTER_SUFFIX
    master = path if is_master else path.with_suffix(MASTER_SUFFIX)
    if is_master and not master.is_file():
        raise ActiveSetError(f"There is no file `{master}`. Give the path of an active set.")
    packed = unpack(master.read_bytes()) if master.is_file() else None
    if is_master and packed is not None:
        packed.require_model(sha256)
        inverses = inverses_by_type(packed, model.elements)
    else:
        plain = read_asi(path)
        inverses = inverses_by_type(plain, model.elements)
        if packed is not None and _is_same(packed, plain):
            packed.require_model(sha256)
        else:
            packed = None
    d = model.architecture.n_projection
    if inverses.shape[1] != d:
        raise ActiveSetError(
            f"The active set has d={inverses.shape[1]}, but the model has d={d}: they do not "
            "belong together. Rebuild the active set from this nep.txt."
        )
    return inverses, packed is not None


def _is_same(packed: ActiveSet, plain: dict[str, FloatArray]) -> bool:
    return set(packed.elements) == set(plain) and all(
        np.array_equal(packed.of_element(symbol).inverse, plain[symbol]) for symbol in plain
    )


def _prepared(out: str | Path) -> Path:
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _largest_norm(vectors: FloatArray) -> float:
    return float(np.sqrt((vectors**2).sum(axis=1)).max())


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))


__all__ = [
    "GradedFile",
    "LabelledErrors",
    "PredictedFile",
    "active_set_file",
    "file_factors",
    "grade_file",
    "predict_file",
    "threaded",
]
