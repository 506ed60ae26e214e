"""Which GPUs this job may use, and one of them for one run.

`gpumd` grades with one visible GPU only: with several it takes another code path and refuses. The
GPUs of a job are those of CUDA_VISIBLE_DEVICES, which queues set, and which ROCm obeys too. Where
nobody set it, several workers may stand on one machine, and each takes the next GPU that is free.
"""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nepal_flows.errors import EngineError

logger = logging.getLogger(__name__)

VARIABLE = "CUDA_VISIBLE_DEVICES"

_PAUSE_S = 2.0


@contextlib.contextmanager
def gpus_of_job(
    environment: Mapping[str, str] | None = None,
    *,
    machine: Path = Path("/dev"),
    claims: Path | None = None,
) -> Iterator[tuple[str, ...]]:
    """Yield the ids of the GPUs of this job: those it was given, or else a free one.

    Where nobody said which, it is the first GPU of the machine that no other job of this user
    holds; while all are held this waits.

    Parameters
    ----------
    environment
        Environment variables; those of this process by default.
    machine
        Folder of the device files, of which NVIDIA's are counted; one GPU where there are none.
    claims
        Folder of the claims, shared by the jobs on this machine; one of this user by default.

    Raises
    ------
    EngineError
        If the queue gave the job none.
    """
    given = visible_gpus(environment)
    if given:
        yield given
        return
    n_gpus = max(1, len(list(machine.glob("nvidia[0-9]*"))))
    folder = claims or Path(tempfile.gettempdir()) / f"nepal-gpus-of-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with contextlib.ExitStack() as held:
        told = False
        while True:
            try:
                free = held.enter_context(claimed_gpu([str(k) for k in range(n_gpus)], folder))
                break
            except EngineError:
                if not told:
                    logger.warning(
                        "All %d GPUs of this machine are used by other jobs: this one waits. Start "
                        "no more workers than GPUs, or give each its own by %s.",
                        n_gpus,
                        VARIABLE,
                    )
                told = True
                time.sleep(_PAUSE_S)
        yield (free,)


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the ids of the GPUs that this job was given; none where nobody said which.

    Parameters
    ----------
    environment
        Environment variables; those of this process by default.

    Raises
    ------
    EngineError
        If the queue gave the job none.

    Examples
    --------
    >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}), visible_gpus({})
    (('2', '3'), ())
    """
    value = (os.environ if environment is None else environment).get(VARIABLE)
    if value is None:
        return ()
    ids = tuple(name.strip() for name in value.split(",") if name.strip())
    if not ids or ids[0] in ("-1", "NoDevFiles"):
        raise EngineError(
            f"This job has no GPU: {VARIABLE} is `{value}`. Ask the queue for one (`--gres=gpu:1`) "
            "in the configuration of the workers that explore with GPUMD."
        )
    return tuple(dict.fromkeys(ids))


@contextlib.contextmanager
def claimed_gpu(gpus: Sequence[str], directory: str | Path) -> Iterator[str]:
    """Yield the id of a GPU that no other run of this job uses.

    Parameters
    ----------
    gpus
        Ids to choose from.
    directory
        Folder of the claims, shared by the runs of the job.

    Raises
    ------
    EngineError
        If all are in use.
    """
    for gpu in gpus:
        with (Path(directory) / f"gpu-{gpu.replace('/', '_')}.lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue
            yield gpu
            return
    raise EngineError(f"All GPUs ({', '.join(gpus)}) are in use. Start fewer runs side by side.")


__all__ = ["VARIABLE", "claimed_gpu", "gpus_of_job", "visible_gpus"]
