"""The extrapolation grades of the structures in a file, from files to a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.engines.input_frames import Progress, by_frame
from nepal_flows.errors import ActiveSetError
from nepal_flows.io.asi import MASTER_SUFFIX, inverses_by_type, read_asi
from nepal_flows.io.asi import unpack_active_set as unpack
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_structures
from nepal_flows.typing import FloatArray


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
    inverses, is_verified = matching_inverses(model, active_set_path, sha256)
    structures = read_structures(structures_path)
    grades = by_frame(
        lambda structure: structure_grades(inverses, projection_factors(model, structure)),
        structures,
        source=structures_path,
        n_threads=n_threads,
        progress=progress,
    )
    by_element: dict[str, float] = {}
    for structure, own in zip(structures, grades, strict=True):
        for number in np.unique(structure.numbers):
            largest = float(own[structure.numbers == number].max())
            symbol = SYMBOLS[number]
            by_element[symbol] = max(largest, by_element.get(symbol, 0.0))
    largest_grades = np.array([float(own.max()) for own in grades])
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_extxyz(
        structures,
        path,
        info=[{"max_gamma": float(grade)} for grade in largest_grades],
        arrays=[{"gamma": own} for own in grades],
    )
    return GradedFile(path, largest_grades, by_element, is_verified)


def matching_inverses(model: NepModel, path: str | Path, sha256: str) -> tuple[FloatArray, bool]:
    """Return M by type, and whether it was shown to be this model's.

    Parameters
    ----------
    model, sha256
        The potential, and the SHA-256 of its nep.txt.
    path
        The .asi file, or the compressed master beside it.

    Raises
    ------
    ActiveSetError
        If it cannot be used, or belongs to another model.
    """
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


__all__ = ["GradedFile", "grade_file", "matching_inverses"]
