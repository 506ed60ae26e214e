"""One exploration run as a task for another process: bytes and numbers in, a run out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.bayes.bars import PosteriorBars
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.scoring import BarScore, Scale
from nepal_flows.core.structure import Structure
from nepal_flows.engines.gpumd.committee import CommitteeScore
from nepal_flows.engines.gpumd.devices import claimed_gpu
from nepal_flows.engines.gpumd.md import GpumdSetup, run_gpumd_md
from nepal_flows.engines.md_run import MdRun, MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.engines.trigger import MdState
from nepal_flows.io.asi import unpack_active_set
from nepal_flows.io.committee import unpack_committee
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.io.posterior import unpack_posterior


@dataclass(frozen=True)
class GpuLease:
    """GPUs that the runs of one job share, one run on each.

    Attributes
    ----------
    setup
        How `gpumd` is called here.
    gpus
        Their ids.
    claims
        Folder in which runs claim them.
    """

    setup: GpumdSetup
    gpus: tuple[str, ...]
    claims: str


@dataclass(frozen=True)
class ExplorationTask:
    """All that one run needs.

    Attributes
    ----------
    model_text
        The model's nep.txt.
    active_set
        The packed active set of exactly that model.
    structure
        Where the run begins.
    protocol
        What it does.
    seed
        Its seed.
    options
        Further arguments of the engine.
    body
        Body of a run.in instead of the protocol, for GPUMD.
    lease
        GPUs to run GPUMD on; None for the native engine.
    posterior
        The packed posterior of exactly that model, if frames are scored by its error bars.
    committee
        The packed committee of exactly that model, if frames are scored by it.
    scales
        Scale of every criterion that scores the frames, by its name.
    resumed
        Where an interrupted trajectory stands that goes on.
    """

    model_text: str
    active_set: bytes
    structure: Structure
    protocol: tuple[MdSegment, ...]
    seed: int
    options: dict[str, Any] = field(default_factory=dict)
    body: str | None = None
    lease: GpuLease | None = None
    posterior: bytes | None = None
    committee: bytes | None = None
    scales: Mapping[str, Scale] = field(default_factory=dict)
    resumed: MdState | None = None


def run_exploration(task: ExplorationTask) -> MdRun:
    """Return the run of a task; equal tasks of the native engine give equal runs.

    Raises
    ------
    ActiveSetError
        If the active set belongs to another model.
    EngineError
        If GPUMD cannot be used.
    """
    model, active_set = model_and_active_set(task.model_text, task.active_set)
    if task.lease is not None:
        with claimed_gpu(task.lease.gpus, task.lease.claims) as gpu:
            return run_gpumd_md(
                task.structure,
                model,
                task.protocol,
                setup=replace(task.lease.setup, gpu=gpu),
                active_set=active_set,
                seed=task.seed,
                model_sha256=model_sha256(task.model_text),
                committee=committee_score(task),
                body=task.body,
                **task.options,
            )
    return run_native_md(
        task.structure,
        model,
        task.protocol,
        active_set=active_set,
        bar_scores=bar_scores(task, model),
        grade_scale=task.scales.get("grade"),
        resumed=task.resumed,
        seed=task.seed,
        model_sha256=model_sha256(task.model_text),
        **task.options,
    )


def bar_scores(task: ExplorationTask, model: NepModel) -> tuple[BarScore, ...]:
    """Return the criteria with error bars of a task; none where the grade scores alone.

    Raises
    ------
    ModelError
        If posterior or committee belong to another model.
    """
    sha256, found = model_sha256(task.model_text), []
    if task.posterior is not None:
        posterior = _unpacked_posterior(task.posterior).require_model(sha256)
        found.append(BarScore(PosteriorBars(posterior, model), task.scales["bayes"]))
    score = committee_score(task)
    if score is not None:
        found.append(BarScore(score.committee, score.scale))
    return tuple(found)


def committee_score(task: ExplorationTask) -> CommitteeScore | None:
    """Return the committee that scores a task's frames; None where there is none.

    Raises
    ------
    ModelError
        If it speaks for another model.
    """
    if task.committee is None:
        return None
    packed = _unpacked_committee(task.committee)
    committee = packed.require_model(model_sha256(task.model_text))
    return CommitteeScore(committee, task.scales["committee"])


_unpacked_posterior = lru_cache(maxsize=2)(unpack_posterior)
_unpacked_committee = lru_cache(maxsize=2)(unpack_committee)


@lru_cache(maxsize=2)
def model_and_active_set(text: str, packed: bytes) -> tuple[NepModel, ActiveSet]:
    """Return what the runs of one round share; a worker reads it once."""
    return read_nep_txt(text), unpack_active_set(packed)


__all__ = [
    "ExplorationTask",
    "GpuLease",
    "bar_scores",
    "committee_score",
    "model_and_active_set",
    "run_exploration",
]
