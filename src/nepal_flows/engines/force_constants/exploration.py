"""One run with force constants as a task for another process: bytes and numbers in, a run out."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from nepal_flows.core.scoring import Scale
from nepal_flows.core.structure import Structure
from nepal_flows.engines.force_constants.crystal import CrystalFit, unpack_fit
from nepal_flows.engines.force_constants.dynamics import run_crystal_md
from nepal_flows.engines.force_constants.model import PackedStructure, packed, unpacked
from nepal_flows.engines.md_run import MdRun, MdSegment
from nepal_flows.engines.trigger import MdState


@dataclass(frozen=True)
class CrystalTask:
    """All that one run needs.

    Attributes
    ----------
    fit
        The packed force constants.
    supercell
        The ideal supercell of the run.
    structure
        Where the run begins.
    protocol
        What it does.
    seed
        Its seed.
    scale
        Of the scores.
    options
        Further arguments of the engine.
    body
        None; what a NEP's run in GPUMD would do.
    resumed
        Where an interrupted trajectory stands that goes on.
    """

    fit: bytes
    supercell: Structure
    structure: Structure
    protocol: tuple[MdSegment, ...]
    seed: int
    scale: Scale
    options: dict[str, Any] = field(default_factory=dict)
    body: None = None
    resumed: MdState | None = None


def run_crystal(task: CrystalTask) -> MdRun:
    """Return the run of a task; equal tasks give equal runs."""
    return run_crystal_md(
        task.structure,
        _fit(task.fit, packed(task.supercell)),
        task.protocol,
        scale=task.scale,
        seed=task.seed,
        resumed=task.resumed,
        **task.options,
    )


@lru_cache(maxsize=4)
def _fit(content: bytes, supercell: PackedStructure) -> CrystalFit:
    """Return what the runs of one round share; a worker reads it once."""
    return unpack_fit(content, [unpacked(supercell)])


__all__ = ["CrystalTask", "run_crystal"]
