"""What the queue has given to this process: cores and GPUs that are paid for, busy or not."""

import math
import os
import re
from collections.abc import Mapping


def held_cores(environment: Mapping[str, str] | None = None) -> int | None:
    """Return the cores of the queue's job that this process is in, None outside a queue.

    All of them are paid for while the job runs, also those of other nodes, whose processor time
    cannot be read here. SLURM, PBS, LSF and Grid Engine are known.

    Parameters
    ----------
    environment
        Variables to look at; those of this process when not given.

    Examples
    --------
    >>> held_cores({"SLURM_JOB_ID": "7", "SLURM_JOB_CPUS_PER_NODE": "64(x2),32"})
    160
    >>> held_cores({})
    """
    env = os.environ if environment is None else environment
    if "SLURM_JOB_ID" in env and "SLURM_JOB_CPUS_PER_NODE" in env:
        return _expanded_sum(env["SLURM_JOB_CPUS_PER_NODE"])
    for variable in ("PBS_NP", "PBS_NCPUS", "NCPUS", "LSB_DJOB_NUMPROC", "NSLOTS"):
        text = env.get(variable, "")
        if text.isdigit() and _in_queue(env):
            return int(text)
    return None


def billed_seconds(wall_s: float, cpu_s: float, *, share: float = 1.0) -> float:
    """Return the core-seconds a step costs: those held in a queue's job, else the CPU time.

    Parameters
    ----------
    wall_s, cpu_s
        Elapsed time, and processor time that was measured here.
    share
        Part of the job's cores that the step had, where several run side by side.
    """
    cores = held_cores()
    return cpu_s if cores is None else max(cpu_s, wall_s * cores * share)


def _in_queue(env: Mapping[str, str]) -> bool:
    return any(name in env for name in ("PBS_JOBID", "LSB_JOBID", "JOB_ID"))


def _expanded_sum(text: str) -> int | None:
    """Return the sum of SLURM's list of numbers, ``64(x2),32``; None if it is something else."""
    total = 0
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if match is None:
            return None
        total += math.prod(int(number) for number in match.groups(default="1"))
    return total


__all__ = ["billed_seconds", "held_cores"]
