"""Which GPUs this job may use, and one of them for one run.

`gpumd` grades with one visible GPU only: with several it takes another code path and refuses. The
GPUs of a job are those of CUDA_VISIBLE_DEVICES, which queues set, and which ROCm obeys too.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nepal_flows.errors import EngineError

VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the ids of the GPUs of this job; the first of the machine where none is named.

    Parameters
    ----------
    environment
        Environment variables; those of this process by default.

    Raises
    ------
    EngineError
        If the job has none.

    Examples
    --------
    >>> visible_gpus({"CUDA_VISIBLE_DEVICES": "2,3"}), visible_gpus({})
    (('2', '3'), ('0',))
    """
    value = (os.environ if environment is None else environment).get(VARIABLE)
    if value is None:
        return ("0",)
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


__all__ = ["VARIABLE", "claimed_gpu", "visible_gpus"]
