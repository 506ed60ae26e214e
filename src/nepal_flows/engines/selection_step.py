"""Choose frames to label, from files to a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.seeds import close_pairs
from nepal_flows.core.selection import Selection, select_frames
from nepal_flows.core.structure import Structure, elements_present
from nepal_flows.engines.input_frames import Progress, by_frame
from nepal_flows.io.covalent import SMALLEST_SHARE, smallest_distances
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.structures import read_structures


@dataclass(frozen=True, eq=False)
class SelectedFile:
    """What ``select_file`` made.

    Attributes
    ----------
    path
        The selected frames, in the order of choice: extended XYZ with ``candidate`` (index in
        the input), ``gamma`` (when found) and ``gamma_when_chosen``.
    selection
        The decision for every candidate, with its reason.
    model_sha256
        The model that graded.
    """

    path: Path
    selection: Selection
    model_sha256: str


def select_file(
    model_path: str | Path,
    train_path: str | Path,
    candidates_path: str | Path,
    out: str | Path,
    *,
    budget: int,
    threshold: float = 5.0,
    ceiling: float | None = 1000.0,
    variant: Literal["subspace", "full"] = "subspace",
    min_distance_factor: float = SMALLEST_SHARE,
    memory_limit_MB: float = 2000.0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> SelectedFile:
    """Write the candidates that teach a model most, and return why each was taken or refused.

    Parameters
    ----------
    model_path
        The nep.txt.
    train_path
        Frames that are labelled already.
    candidates_path
        Frames to choose from.
    out
        Extended XYZ file to write.
    budget
        Most frames to choose.
    threshold, ceiling
        Grades: choose while the largest is above the first, refuse above the second.
    variant
        Of the active set.
    min_distance_factor
        Candidates with atoms closer than this share of the sum of covalent radii are refused.
    memory_limit_MB
        Bound on the working memory.
    n_threads
        Threads.
    progress
        Called after every structure that was projected.

    Raises
    ------
    InputError, ModelError, ActiveSetError
        If a file or an option cannot be used.
    """
    model = read_nep_txt(model_path)
    sha256 = model_sha256(Path(model_path).read_bytes())
    training = read_structures(train_path)
    candidates = read_structures(candidates_path)
    total = len(training) + len(candidates)

    def factors(
        structures: list[Structure], path: str | Path, before: int
    ) -> list[ProjectionFactors]:
        return by_frame(
            lambda structure: projection_factors(model, structure),
            structures,
            source=path,
            n_threads=n_threads,
            progress=None if progress is None else lambda done, _: progress(before + done, total),
        )

    known = factors(training, train_path, 0)
    offered = factors(candidates, candidates_path, len(training))
    active_set = build_active_set(
        known,
        model.elements,
        variant=variant,
        model_sha256=sha256,
        memory_limit_MB=memory_limit_MB,
        n_threads=n_threads,
    )
    selection = select_frames(
        active_set,
        known,
        offered,
        budget=budget,
        threshold=threshold,
        ceiling=ceiling,
        gate_reasons=_gate_reasons(candidates, min_distance_factor),
        memory_limit_MB=memory_limit_MB,
        n_threads=n_threads,
    )
    path = Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    chosen = [selection.decisions[index] for index in selection.selected]
    write_extxyz(
        [candidates[decision.index] for decision in chosen],
        path,
        info=[
            {
                "candidate": decision.index,
                "gamma": decision.grade,
                "gamma_when_chosen": decision.grade_at_decision,
            }
            for decision in chosen
        ],
    )
    return SelectedFile(path, selection, sha256)


def _gate_reasons(candidates: list[Structure], factor: float) -> dict[int, str]:
    distances = smallest_distances(elements_present(candidates), factor=factor)
    reasons = {}
    for index, candidate in enumerate(candidates):
        close = close_pairs(candidate, distances)
        if close:
            a, b, distance = close[0]
            reasons[index] = (
                f"{SYMBOLS[a]} and {SYMBOLS[b]} are {distance:.2f} Å apart, less than "
                f"{distances[a, b]:.2f} Å"
            )
    return reasons


__all__ = ["SelectedFile", "select_file"]
