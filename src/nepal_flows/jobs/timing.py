"""What a stage costs: elapsed time, and processor time of this process and its workers.

In a queue's job it is all the cores that the job holds, busy or not.
"""

import resource
import time

from nepal_flows.engines.allocation import billed_seconds
from nepal_flows.schemas import Cost


def _cpu_seconds() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


class Stopwatch:
    """Measures from its making; :meth:`cost` may be read more than once.

    Workers that outlive the stage report their own processor time: pass it as ``worker_cpu_s``.
    """

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = _cpu_seconds()

    def cost(self, *, worker_cpu_s: float = 0.0) -> Cost:
        """Return what has been spent since the stopwatch was made."""
        wall_s = time.perf_counter() - self._wall
        cpu_s = _cpu_seconds() - self._cpu + worker_cpu_s
        return Cost(wall_s=round(wall_s, 3), cpu_s=round(billed_seconds(wall_s, cpu_s), 3))


def total_cost(costs: list[Cost]) -> Cost:
    """Return the sum of processor times and of elapsed times."""
    return Cost(
        wall_s=round(sum(cost.wall_s for cost in costs), 3),
        cpu_s=round(sum(cost.cpu_s for cost in costs), 3),
        gpu_s=round(sum(cost.gpu_s for cost in costs), 3),
    )


__all__ = ["Stopwatch", "total_cost"]
