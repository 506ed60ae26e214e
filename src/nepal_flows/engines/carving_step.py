"""Carve fragments out of large cells, from files to a file, one frame in memory at a time."""

import dataclasses
import heapq
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from nepal_flows.core.carving.carve import (
    Carving,
    CarvingOptions,
    carve,
    usual_distances,
    widest_reach,
)
from nepal_flows.core.carving.centres import grades_in_blocks, greedy_centres, regraded_centres
from nepal_flows.core.carving.distances import pair_distances
from nepal_flows.core.carving.environment import environment_of
from nepal_flows.core.carving.regions import AtomBins, Region, open_cluster
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.seeds import close_pairs
from nepal_flows.engines.grading_step import matching_inverses
from nepal_flows.engines.input_frames import Progress
from nepal_flows.errors import CarvingError, InputError
from nepal_flows.io.covalent import SMALLEST_SHARE, smallest_distances
from nepal_flows.io.extxyz import InfoValue, write_extxyz
from nepal_flows.io.extxyz_stream import StreamedFrame, stream_extxyz
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_structures
from nepal_flows.typing import FloatArray

T = TypeVar("T")
R = TypeVar("R")

POOL_PER_FRAGMENT = 8
"""Centres kept while frames stream by, for every fragment that is wanted."""

_SAME_GRADE = 0.2
"""Relative difference up to which a dump's grade counts as this model's: GPUs work in float32."""


@dataclass(frozen=True)
class CentreRules:
    """Which atoms are carved.

    Attributes
    ----------
    threshold
        Grade from which an atom is unknown.
    ceiling
        Atoms above it are passed over; None for no limit.
    budget
        Most fragments.
    per_frame
        Most centres of one frame.
    exclusion
        Least distance of two centres of a frame over the core's radius.
    min_distance_factor
        Atoms closer than this share of their covalent radii are no physics: their neighbourhood
        is not carved.
    """

    threshold: float = 5.0
    ceiling: float | None = None
    budget: int = 20
    per_frame: int = 10
    exclusion: float = 1.5
    min_distance_factor: float = SMALLEST_SHARE

    def __post_init__(self) -> None:
        if self.budget < 1 or self.per_frame < 1:
            raise InputError(
                f"`budget` is {self.budget} and `per_frame` {self.per_frame}; give at least 1."
            )
        if not self.threshold > 0.0:
            raise InputError(f"`threshold` is {self.threshold}; give a positive grade, as 5.")


@dataclass(frozen=True, eq=False)
class Centre:
    """One unknown atom with its surroundings.

    Attributes
    ----------
    frame
        Index of its frame.
    atom
        Its index in the frame.
    n_parent_atoms
        Atoms of the frame.
    grade
        As the dump has it, or as computed.
    region
        Its surroundings, as wide as carving needs.
    surroundings
        Factors of the atom and its first shell.
    """

    frame: int
    atom: int
    n_parent_atoms: int
    grade: float
    region: Region
    surroundings: ProjectionFactors


@dataclass(frozen=True, eq=False)
class CarvedFragment:
    """One centre and what became of it.

    Attributes
    ----------
    centre
        The atom.
    grade_when_chosen
        Its grade when its turn came, with the fragments chosen before it.
    carving
        The fragment; None where none could be cut.
    reason
        Why there is none, or why it is not accepted; None where it is.
    wall_s
        Time that carving it took, s.
    """

    centre: Centre
    grade_when_chosen: float
    carving: Carving | None
    reason: str | None
    wall_s: float


@dataclass(frozen=True, eq=False)
class CarvedFrames:
    """What carving made of many frames.

    Attributes
    ----------
    fragments
        What became of every chosen centre, in the order of choice.
    n_frames, n_unknown
        Frames read, and atoms in them above the threshold.
    n_centres
        Centres that were apart from each other.
    refused
        Centres that were not carved, by reason.
    """

    fragments: tuple[CarvedFragment, ...]
    n_frames: int
    n_unknown: int
    n_centres: int
    refused: dict[str, int] = field(default_factory=dict)

    @property
    def accepted(self) -> tuple[CarvedFragment, ...]:
        """The fragments to be labelled."""
        return tuple(f for f in self.fragments if f.carving is not None and f.reason is None)


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


def carve_frames(
    frames: Iterable[StreamedFrame],
    model: NepModel,
    inverses: FloatArray,
    *,
    rules: CentreRules,
    options: CarvingOptions,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> CarvedFrames:
    """Return fragments around the least known atoms of graded frames.

    Parameters
    ----------
    frames
        One after the other; none is kept.
    model
        The potential.
    inverses
        M of all types, shape (n_types, d, d).
    rules
        Which atoms.
    options
        How.
    seed
        For the rattling.
    n_threads
        Threads, over centres.
    progress
        Called after every fragment.

    Raises
    ------
    CarvingError
        If the grades of a frame are not this model's.
    """
    pool = _Pool(POOL_PER_FRAGMENT * rules.budget)
    refused: dict[str, int] = {}
    n_frames = n_unknown = n_centres = 0
    for frame in frames:
        n_frames += 1
        n_unknown += int((_grades(frame) >= rules.threshold).sum())
        for found in _centres(frame, model, inverses, rules, options):
            n_centres += 1
            if isinstance(found, str):
                refused[found] = refused.get(found, 0) + 1
            else:
                pool.add(found)
    centres = pool.centres()
    choice = regraded_centres(
        [centre.surroundings for centre in centres],
        inverses,
        budget=rules.budget,
        threshold=rules.threshold,
    )
    n_covered = len(centres) - len(choice.chosen)
    n_covered -= int((np.delete(choice.remaining, choice.chosen) >= rules.threshold).sum())
    if n_covered:
        refused["covered by the fragments chosen"] = n_covered
    n_left = pool.n_dropped + len(centres) - len(choice.chosen) - n_covered
    if n_left:
        refused["the budget is spent"] = n_left

    def carved(item: tuple[int, tuple[int, float]]) -> CarvedFragment:
        place, (number, grade) = item
        rng = np.random.default_rng([seed, place])
        return _carved(centres[number], float(grade), model, inverses, options, rng)

    order = list(enumerate(zip(choice.chosen, choice.grades_when_chosen, strict=True)))
    fragments = []
    for fragment in _mapped(carved, order, n_threads):
        fragments.append(fragment)
        if progress is not None:
            progress(len(fragments), len(order))
    return CarvedFrames(tuple(fragments), n_frames, n_unknown, n_centres, refused)


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


class _Pool:
    """The worst centres of all frames so far."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, Centre]] = []
        self._count = itertools.count()
        self.n_dropped = 0

    def add(self, centre: Centre) -> None:
        heapq.heappush(self._heap, (centre.grade, -next(self._count), centre))
        if len(self._heap) > self._size:
            heapq.heappop(self._heap)
            self.n_dropped += 1

    def centres(self) -> list[Centre]:
        return [centre for _, _, centre in sorted(self._heap, key=lambda item: item[:2])[::-1]]


def _grades(frame: StreamedFrame) -> FloatArray:
    assert frame.grades is not None
    return frame.grades


def _centres(
    frame: StreamedFrame,
    model: NepModel,
    inverses: FloatArray,
    rules: CentreRules,
    options: CarvingOptions,
) -> Iterator[Centre | str]:
    """Yield the centres of a frame, or why one is not carved."""
    grades = _grades(frame)
    if not (grades >= rules.threshold).any():
        return
    bins = AtomBins(frame.structure, grades)
    core_radius = options.core_radius or model.architecture.largest_cutoff
    atoms = greedy_centres(
        bins,
        grades,
        threshold=rules.threshold,
        exclusion=rules.exclusion * core_radius,
        max_centres=rules.per_frame,
        ceiling=np.inf if rules.ceiling is None else rules.ceiling,
    )
    for atom in atoms.tolist():
        yield _centre(frame, bins, atom, model, inverses, rules, options)


def _centre(
    frame: StreamedFrame,
    bins: AtomBins,
    atom: int,
    model: NepModel,
    inverses: FloatArray,
    rules: CentreRules,
    options: CarvingOptions,
) -> Centre | str:
    near = bins.region(atom, 2.0 * model.architecture.largest_cutoff + 1.0)
    limits = smallest_distances(near.numbers.tolist(), factor=rules.min_distance_factor)
    close = close_pairs(open_cluster(near), limits)
    if close:
        a, b, _ = close[0]
        return f"atoms overlap: {SYMBOLS[a]} and {SYMBOLS[b]} closer than {limits[a, b]:.2f} Å"
    distances = usual_distances(partial(bins.region, atom), options)
    reach = widest_reach(model, options, distances, options.max_enlargements)
    environment = environment_of(model, near)
    shell = np.linalg.norm(near.positions, axis=1) < 1.35 * distances.largest
    surroundings = environment.factors(np.flatnonzero(shell))
    own = float(structure_grades(inverses, surroundings)[0])
    told = float(_grades(frame)[atom])
    if abs(own - told) > _SAME_GRADE * max(1.0, own):
        raise CarvingError(
            f"Frame {frame.index} says that atom {atom} has the grade {told:.4g}, but this model "
            f"and active set give {own:.4g}. Give those that the dump was made with, or let the "
            "grades be computed with `--grade`."
        )
    region = bins.region(atom, reach)
    return Centre(frame.index, atom, bins.structure.n_atoms, told, region, surroundings)


def _carved(
    centre: Centre,
    grade: float,
    model: NepModel,
    inverses: FloatArray,
    options: CarvingOptions,
    rng: np.random.Generator,
) -> CarvedFragment:
    began = time.monotonic()
    try:
        carving = carve(centre.region.within, model, inverses, options=options, rng=rng)
    except CarvingError as error:
        return CarvedFragment(centre, grade, None, str(error), time.monotonic() - began)
    reason = "; ".join(carving.shortcomings) or None
    return CarvedFragment(centre, grade, carving, reason, time.monotonic() - began)


def _mapped(function: Callable[[T], R], items: Sequence[T], n_threads: int) -> Iterator[R]:
    """Yield the function's values in order, on several threads."""
    if n_threads <= 1 or len(items) < 2:
        yield from map(function, items)
        return
    yield function(items[0])  # compiled kernels are loaded once, not by every thread
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(function, items[1:])


def _most(refused: Mapping[str, int]) -> str:
    return max(refused, key=lambda reason: refused[reason]) if refused else "for no known reason."


__all__ = [
    "CarvedFile",
    "CarvedFragment",
    "CarvedFrames",
    "Centre",
    "CentreRules",
    "carve_file",
    "carve_frames",
    "graded_frames",
    "write_fragments",
]
