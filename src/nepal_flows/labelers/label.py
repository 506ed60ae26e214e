"""Labels for many structures side by side: tried, gated, tried again, or given up."""

import logging
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.pool import TaskResult, WorkerPool
from nepal_flows.errors import FailureKind, LabelError, StoreUnavailableError
from nepal_flows.labelers.gates import LabelGate, gated_label, net_force
from nepal_flows.labelers.protocol import (
    HarmfulCorrectionError,
    Labeler,
    RawLabel,
    Rung,
    UnconvergedLabelError,
)
from nepal_flows.labelers.run_directory import attempt_directory, base_directory, unusable
from nepal_flows.schemas import Attempt, Correction, Cost

logger = logging.getLogger(__name__)

_SAYS_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)

_LEAST_FREE_BYTES = 1 << 16
"""Below this the disk is full, and a label that fails says nothing about its structure."""


@dataclass(frozen=True, eq=False)
class LabelOutcome:
    """What came of labelling one structure.

    Attributes
    ----------
    index
        Position of the structure among those given.
    structure
        The structure.
    label
        Its label; None when it failed.
    reason
        Why it failed; None when it did not.
    attempts
        Every try, in order.
    cost
        Of all tries.
    info
        What the code told beside the label.
    version
        Version of the code, where it says so.
    net_force
        |sum F| / sqrt(n_atoms) with what the code took off, eV/Å; None when the label failed.
    corrections
        What a supervising program changed in the inputs during the last try.
    harmful
        Whether that changed the physics.
    """

    index: int
    structure: Structure
    label: LabelledStructure | None
    reason: str | None
    attempts: tuple[Attempt, ...]
    cost: Cost
    info: dict[str, Any]
    version: str | None = None
    net_force: float | None = None
    corrections: tuple[Correction, ...] = ()
    harmful: bool = False


@dataclass(frozen=True, eq=False)
class _Answer:
    """What a worker sends back of one try."""

    label: LabelledStructure | None = None
    raw: RawLabel | None = None
    error: str | None = None
    failure: FailureKind | None = None
    may_retry: bool = False
    corrections: tuple[Correction, ...] = ()


@dataclass
class _Pending:
    """A structure that is not decided yet."""

    index: int
    structure: Structure
    attempts: tuple[Attempt, ...] = ()
    cost: Cost = field(default_factory=Cost)


def label_structures(
    labeler: Labeler,
    structures: Iterable[Structure],
    *,
    pool: WorkerPool,
    time_limit_s: float | None = None,
    retries: int = 2,
    gate: LabelGate | None = None,
    scratch: str | Path | None = None,
    on_done: Callable[[LabelOutcome], None] | None = None,
) -> list[LabelOutcome]:
    """Return what came of each structure, in the order given.

    A label that fails is tried again with other convergence helpers, up to ``retries`` times and as
    far as the labeler's ladder goes; a label that hangs, or whose structure is at fault, is not.

    Parameters
    ----------
    labeler
        The code and its settings.
    structures
        What to label.
    pool
        Processes to label in.
    time_limit_s
        Time that one try may take before it is killed, s.
    retries
        Further tries of a failed label.
    gate
        Limits on a label; those of the labeler when not given.
    scratch
        Directory to run in, the system's own when not given. What a failed try left there stays
        for inspection when it is given.
    on_done
        Called with each outcome as soon as it is decided, so that it can be stored.

    Raises
    ------
    EngineError
        If no worker process can be started.
    StoreUnavailableError
        If the directory cannot be written, or its disk is full: the structures are not at fault,
        so nothing is decided about them.
    """
    gate = gate or LabelGate(max_net_force=labeler.max_net_force)
    pending = [_Pending(index, structure) for index, structure in enumerate(structures)]
    outcomes: dict[int, LabelOutcome] = {}
    rungs = list(labeler.ladder())[: retries + 1]
    with base_directory(scratch) as base:
        for number, rung in enumerate(rungs):
            tasks = [(labeler, item.structure, rung, gate, base) for item in pending]
            failed: list[_Pending] = []
            for result in pool.run(attempt_label, tasks, time_limit_s=time_limit_s):
                item, answer = pending[result.index], _answer(result)
                _require_disk(base, result, answer)
                _add_attempt(item, rung, answer, result)
                if answer.may_retry and number + 1 < len(rungs):
                    failed.append(item)
                    continue
                outcome = _outcome(item, answer)
                outcomes[item.index] = outcome
                if on_done is not None:
                    on_done(outcome)
            pending = sorted(failed, key=lambda item: item.index)
    n_failed = sum(outcome.label is None for outcome in outcomes.values())
    logger.info("Labelled %d structures by %s, %d failed", len(outcomes), labeler.name, n_failed)
    return [outcomes[index] for index in sorted(outcomes)]


def attempt_label(
    labeler: Labeler, structure: Structure, rung: Rung, gate: LabelGate, base: str
) -> _Answer:
    """Try once to label a structure, in a directory of its own; runs in a worker.

    The directory is removed when the try succeeds.

    Raises
    ------
    StoreUnavailableError
        If the directory cannot be made.
    """
    try:
        with attempt_directory(base, labeler.name) as directory:
            raw = labeler.label(structure, directory, helpers=rung.changed)
            label = gated_label(structure, raw, gate)
    except LabelError as error:
        corrections = error.corrections if isinstance(error, HarmfulCorrectionError) else ()
        return _Answer(
            error=str(error),
            failure=error.failure,
            may_retry=isinstance(error, UnconvergedLabelError),
            corrections=corrections,
        )
    return _Answer(label=label, raw=raw, corrections=raw.corrections)


def _require_disk(base: str, result: TaskResult, answer: _Answer) -> None:
    """Raise instead of blaming a structure for a disk that is full or cannot be written."""
    if result.error_type == StoreUnavailableError.__name__:
        raise StoreUnavailableError(str(result.error))
    if answer.label is not None or result.outcome == "timeout":
        return
    if _is_full(base) or _SAYS_FULL.search(answer.error or ""):
        raise StoreUnavailableError(unusable(base, f"no space left on device ({answer.error})"))


def _is_full(base: str) -> bool:
    return shutil.disk_usage(base).free < _LEAST_FREE_BYTES


def _answer(result: TaskResult) -> _Answer:
    if result.outcome == "done":
        answer: _Answer = result.value
        return answer
    error = result.error or result.outcome
    if result.error_type:
        error = f"{result.error_type}: {error}"
    kinds: dict[str, FailureKind] = {"crashed": "crashed", "timeout": "timeout"}
    return _Answer(
        error=error,
        failure=kinds.get(result.outcome, "unusable"),
        may_retry=result.outcome == "crashed",
    )


def _add_attempt(item: _Pending, rung: Rung, answer: _Answer, result: TaskResult) -> None:
    attempt = Attempt(
        rung=rung.name,
        changed=dict(rung.changed),
        error=answer.error,
        failure=answer.failure,
        wall_s=result.wall_s,
    )
    item.attempts = (*item.attempts, attempt)
    item.cost = Cost(wall_s=item.cost.wall_s + result.wall_s, cpu_s=item.cost.cpu_s + result.cpu_s)


def _outcome(item: _Pending, answer: _Answer) -> LabelOutcome:
    return LabelOutcome(
        index=item.index,
        structure=item.structure,
        label=answer.label,
        reason=answer.error,
        attempts=item.attempts,
        cost=item.cost,
        info={} if answer.raw is None else dict(answer.raw.info),
        version=None if answer.raw is None else answer.raw.version,
        net_force=None if answer.raw is None else net_force(answer.raw.forces, answer.raw.drift),
        corrections=answer.corrections,
        harmful=answer.failure == "harmful_correction",
    )


__all__ = ["LabelOutcome", "attempt_label", "label_structures"]
