"""Carve fragments out of large cells, from files to a file, one frame in memory at a time."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nepal_flows.core.carving.centres import grades_in_blocks
from nepal_flows.core.carving.distances import pair_distances
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.nep.model import NepModel
from nepal_flows.engines.carving_centres import CentreRules
from nepal_flows.engines.carving_frames import CarvedFragment, CarvedFrames, carve_frames
from nepal_flows.engines.grading_step import matching_inverses
from nepal_flows.engines.input_frames import Progress
from nepal_flows.errors import CarvingError
from nepal_flows.io.extxyz import InfoValue, write_extxyz
from nepal_flows.io.extxyz_stream import StreamedFrame, stream_extxyz
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_structures
from nepal_flows.typing import FloatArray


@dataclass(frozen=True, eq=False)
class CarvedFile:
    """What `carve_file` made.

    Attributes
    ----------
    path
        The fragments, extended XYZ.
    frames
        What became of every centre.
    is_verified
        Whether the active set was shown to belong to the model.
    model_sha256
        Of the model.
    core_radius, cutoff
        What was kept around centres, and how far the model looks, Å: with a shorter core the
        centre's label is not the parent's.
    """

    path: Path
    frames: CarvedFrames
    is_verified: bool
    model_sha256: str
    core_radius: float
    cutoff: float


def carve_file(
    model_path: str | Path,
    active_set_path: str | Path,
    frames_path: str | Path,
    out: str | Path,
    *,
    rules: CentreRules | None = None,
    options: CarvingOptions | None = None,
    train_path: str | Path | None = None,
    regrade: bool = False,
    keep_rejected: bool = False,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> CarvedFile:
    """Write fragments around the least known atoms of the frames in a file.

    Parameters
    ----------
    model_path
        The nep.txt.
    active_set_path
        The .asi file, or the compressed master beside it.
    frames_path
        Extended XYZ with a column ``gamma``, as `gpumd` and `nepal grade` write it.
    out
        Extended XYZ file to write: ``gamma``, ``gamma_parent``, ``parent_atom`` and ``is_core``
        per atom.
    rules
        Which atoms.
    options
        How.
    train_path
        Training frames: no two atoms of a fragment come nearer than they do there or in the
        parent.
    regrade
        Compute the grades instead of taking those of the file.
    keep_rejected
        Write fragments that are not accepted too.
    seed
        For the rattling.
    n_threads
        Threads, over centres.
    progress
        Called after every fragment.

    Raises
    ------
    InputError, ModelError, ActiveSetError
        If a file or an option cannot be used, or there are unknown atoms but no fragment.
    """
    model = read_nep_txt(model_path)
    sha256 = model_sha256(Path(model_path).read_bytes())
    inverses, is_verified = matching_inverses(model, active_set_path, sha256)
    rules, options = rules or CentreRules(), options or CarvingOptions()
    if train_path is not None:
        options = held_to_training(options, train_path)
    carved = carve_frames(
        graded_frames(stream_extxyz(frames_path), model, inverses, regrade=regrade),
        model,
        inverses,
        rules=rules,
        options=options,
        seed=seed,
        n_threads=n_threads,
        progress=progress,
    )
    made = [f for f in carved.fragments if f.carving is not None]
    written = made if keep_rejected else [f for f in made if f.reason is None]
    if not written and carved.n_centres:
        why = next((f.reason for f in carved.fragments if f.reason), None) or _most(carved.refused)
        raise CarvingError(
            f"{carved.n_unknown} atoms of `{frames_path}` are unknown, but no fragment could be "
            f"made of them: {why}"
        )
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_fragments(path, written)
    cutoff = model.architecture.largest_cutoff
    core_radius = options.core_radius or cutoff
    return CarvedFile(path, carved, is_verified, sha256, core_radius, cutoff)


def held_to_training(options: CarvingOptions, train_path: str | Path) -> CarvingOptions:
    """Return options under which no atoms come nearer than in training frames or the parent."""
    smallest = min(pair_distances(s).smallest for s in read_structures(train_path))
    acceptance = dataclasses.replace(options.acceptance, training_distance=smallest)
    return dataclasses.replace(options, acceptance=acceptance)


def graded_frames(
    frames: Iterable[StreamedFrame], model: NepModel, inverses: FloatArray, *, regrade: bool
) -> Iterator[StreamedFrame]:
    """Yield frames that have grades: their own, or, if asked for, new ones.

    Raises
    ------
    CarvingError
        If a frame has none and none are to be computed.
    """
    for frame in frames:
        model.architecture.types_of(frame.structure.numbers)
        if regrade:
            grades = grades_in_blocks(AtomBins(frame.structure), model, inverses)
            yield StreamedFrame(frame.index, frame.structure, grades)
        elif frame.grades is None:
            raise CarvingError(
                f"Frame {frame.index} has no column `gamma`. Dump it with the frames "
                "(`compute_extrapolation`), or let the grades be computed with `--grade`."
            )
        else:
            yield frame


def write_fragments(path: Path, fragments: Iterable[CarvedFragment]) -> None:
    """Write fragments to an extended XYZ file."""
    structures, info, arrays = [], [], []
    for fragment in fragments:
        assert fragment.carving is not None
        carving, centre = fragment.carving, fragment.centre
        structures.append(carving.fragment.structure)
        facts: dict[str, InfoValue] = {
            "frame": centre.frame,
            "centre": centre.atom,
            "gamma_centre": carving.fidelity.parent_centre_grade,
            "gamma_when_chosen": fragment.grade_when_chosen,
            "method": carving.method,
            "accepted": fragment.reason is None,
        }
        info.append(facts)
        arrays.append(
            {
                "gamma": carving.fidelity.grades,
                "gamma_parent": carving.fidelity.parent_grades,
                "parent_atom": carving.fragment.parents,
                "is_core": carving.fragment.is_core,
            }
        )
    write_extxyz(structures, path, info=info, arrays=arrays)


def _most(refused: Mapping[str, int]) -> str:
    return max(refused, key=lambda reason: refused[reason]) if refused else "for no known reason."


__all__ = ["CarvedFile", "carve_file", "graded_frames", "held_to_training", "write_fragments"]
