"""Which atoms of large frames are carved: the worst of all, apart from each other."""

import heapq
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from nepal_flows.core.carving.carve import usual_distances, widest_reach
from nepal_flows.core.carving.centres import greedy_centres
from nepal_flows.core.carving.environment import environment_of
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.carving.regions import AtomBins, Region, open_cluster
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.seeds import close_pairs
from nepal_flows.errors import CarvingError, InputError
from nepal_flows.io.covalent import SMALLEST_SHARE, smallest_distances
from nepal_flows.io.extxyz_stream import StreamedFrame
from nepal_flows.typing import FloatArray

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


class CentrePool:
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


def known_grades(frame: StreamedFrame) -> FloatArray:
    assert frame.grades is not None
    return frame.grades


def frame_centres(
    frame: StreamedFrame,
    model: NepModel,
    inverses: FloatArray,
    rules: CentreRules,
    options: CarvingOptions,
) -> Iterator[Centre | str]:
    """Yield the centres of a frame, or why one is not carved."""
    grades = known_grades(frame)
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
    told = float(known_grades(frame)[atom])
    if abs(own - told) > _SAME_GRADE * max(1.0, own):
        raise CarvingError(
            f"Frame {frame.index} says that atom {atom} has the grade {told:.4g}, but this model "
            f"and active set give {own:.4g}. Give those that the dump was made with, or let the "
            "grades be computed with `--grade`."
        )
    region = bins.region(atom, reach)
    return Centre(frame.index, atom, bins.structure.n_atoms, told, region, surroundings)


__all__ = ["Centre", "CentrePool", "CentreRules", "frame_centres", "known_grades"]
