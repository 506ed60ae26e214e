"""A protocol of molecular dynamics, followed by whatever moves the atoms."""

from collections.abc import Callable, Sequence

import numpy as np

from nepal_flows.core.md.dynamics import Stretch
from nepal_flows.engines.md_collector import Collector, Moving
from nepal_flows.engines.md_run import MdRun, MdSegment
from nepal_flows.engines.outcome import Outcome
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

_AUDIT_STREAM = 1


def follow(
    dynamics: Moving,
    stretches: Sequence[Stretch],
    collector: Collector,
    *,
    n_per_call: int,
    violation: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MdRun:
    """Follow a protocol to its end, or to what stops the run, and return what was met.

    Parameters
    ----------
    dynamics
        At the step where the run begins or goes on.
    stretches
        The protocol, from its first step on.
    collector
        Grades checks, and says when to stop.
    n_per_call
        Steps between two looks at the checks.
    violation
        Why the physics gate bars the start, if it does.
    progress
        Called with the finished and requested steps.
    """
    stopped: tuple[Outcome, str] | None = None
    if violation is not None:
        stopped = ("stopped_by_gate", f"at the start: {violation}")
    first_step = collector.first_step
    requested = sum(stretch.n_steps for stretch in stretches) - first_step
    begin = 0
    for stretch in stretches:
        done = min(max(first_step - begin, 0), stretch.n_steps)
        begin += stretch.n_steps
        while stopped is None and done < stretch.n_steps:
            n_steps = min(n_per_call, stretch.n_steps - done)
            stopped = collector.take(dynamics.run(stretch, n_done=done, n_steps=n_steps))
            done += n_steps
            if stopped is None and dynamics.failure is not None:
                outcome: Outcome = "crashed" if dynamics.has_exploded else "stopped_by_gate"
                stopped = (outcome, dynamics.failure)
            if progress is not None:
                progress(dynamics.finished_steps - first_step, requested)
    outcome, why = stopped or ("finished", None)
    return collector.result(outcome, why, requested)


def stretches_of(
    protocol: Sequence[MdSegment],
    *,
    time_step_fs: float,
    thermostat_time_fs: float,
    barostat_time_fs: float,
    bulk_modulus_GPa: float,
) -> list[Stretch]:
    """Return the stretches of a protocol."""
    per_GPa = 1.0 / EV_PER_CUBIC_ANGSTROM_TO_GPA
    return [
        Stretch(
            ensemble=segment.ensemble,
            temperature=_pair(segment.temperature_K),
            n_steps=segment.n_steps,
            pressure=_pair(segment.pressure_GPa, per_GPa),
            time_step=time_step_fs,
            thermostat_time=thermostat_time_fs,
            barostat_time=barostat_time_fs,
            bulk_modulus=bulk_modulus_GPa / EV_PER_CUBIC_ANGSTROM_TO_GPA,
        )
        for segment in protocol
    ]


def audit_steps(
    stretches: Sequence[Stretch], n_audit: int, *, first_step: int, check_interval: int, seed: int
) -> frozenset[int]:
    """Return the steps of the checks after the first step that are drawn for the audit."""
    n_steps = sum(stretch.n_steps for stretch in stretches)
    checks = range(first_step // check_interval + 1, n_steps // check_interval + 1)
    rng = np.random.default_rng([seed, _AUDIT_STREAM])
    n = min(n_audit, len(checks))
    return frozenset(int(c) * check_interval for c in rng.choice(checks, n, replace=False))


def _pair(value: float | tuple[float, float], factor: float = 1.0) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return (float(value[0]) * factor, float(value[1]) * factor)
    return (float(value) * factor, float(value) * factor)


__all__ = ["audit_steps", "follow", "stretches_of"]
