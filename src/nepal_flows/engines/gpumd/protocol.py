"""A protocol of the campaign file as the body of a run.in.

``nvt`` becomes ``nvt_lan`` (Langevin), ``npt`` the stochastic cell rescaling ``npt_scr`` where
GPUMD has it for one hydrostatic pressure: a constant pressure and a cell whose vectors lie along
the axes. Else it becomes ``npt_mttk .. iso``, which takes any cell and pressure ramps. Couplings
are relaxation times in time steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nepal_flows.engines.md_run import MdSegment
from nepal_flows.errors import InputError
from nepal_flows.io.run_in import Disagreement, Grading, RunIn, run_in_of
from nepal_flows.typing import FloatArray

SHORTEST_PERIOD = 200.0
"""Smallest period of MTTK's barostat that GPUMD takes, time steps."""


@dataclass(frozen=True)
class Couplings:
    """Time step and couplings of a run.

    Attributes
    ----------
    time_step_fs, thermostat_time_fs, barostat_time_fs, bulk_modulus_GPa
        As in the campaign file.
    """

    time_step_fs: float = 2.0
    thermostat_time_fs: float = 100.0
    barostat_time_fs: float = 1000.0
    bulk_modulus_GPa: float = 100.0


def protocol_run_in(
    protocol: Sequence[MdSegment],
    cell: FloatArray,
    *,
    couplings: Couplings,
    grading: Grading | Disagreement,
    seed: int,
    burn_in_steps: int = 0,
) -> RunIn:
    """Return the run.in of a protocol.

    Parameters
    ----------
    protocol
        Segments, one after the other.
    cell
        Cell vectors of the start, rows, shape (3, 3), Å.
    couplings, grading, seed
        As they are named.
    burn_in_steps
        First steps, which are not graded.

    Raises
    ------
    InputError
        If the protocol makes no sense for GPUMD.
    """
    if not protocol:
        raise InputError("The protocol is empty; give at least one segment.")
    before, after = _cut(protocol, burn_in_steps)
    first = _pair(protocol[0].temperature_K)[0]
    lines = [f"time_step {couplings.time_step_fs:g}", f"velocity {_positive(first):g}"]
    has_axes = not np.any(cell[~np.eye(3, dtype=bool)])
    for segment in (*before, *after):
        lines += [_ensemble(segment, couplings, has_axes=has_axes), f"run {segment.n_steps}"]
    run_in = run_in_of(
        "\n".join(lines),
        grading=grading,
        seed=seed,
        time_step_fs=couplings.time_step_fs,
        n_ungraded=len(before),
    )
    blocks = tuple(
        replace(block, temperature_K=_pair(segment.temperature_K))
        for block, segment in zip(run_in.blocks, (*before, *after), strict=True)
    )
    return replace(run_in, blocks=blocks)


def _ensemble(segment: MdSegment, couplings: Couplings, *, has_axes: bool) -> str:
    first, last = (_positive(value) for value in _pair(segment.temperature_K))
    thermostat = max(1.0, couplings.thermostat_time_fs / couplings.time_step_fs)
    barostat = max(1.0, couplings.barostat_time_fs / couplings.time_step_fs)
    low, high = _pair(segment.pressure_GPa)
    if segment.ensemble == "nve":
        return "ensemble nve"
    if segment.ensemble == "nvt":
        return f"ensemble nvt_lan {first:g} {last:g} {thermostat:g}"
    if has_axes and low == high:
        return (
            f"ensemble npt_scr {first:g} {last:g} {thermostat:g} {low:g} "
            f"{couplings.bulk_modulus_GPa:g} {barostat:g}"
        )
    return (
        f"ensemble npt_mttk temp {first:g} {last:g} iso {low:g} {high:g} tperiod {thermostat:g} "
        f"pperiod {max(SHORTEST_PERIOD, barostat):g}"
    )


def _cut(
    protocol: Sequence[MdSegment], n_first: int
) -> tuple[tuple[MdSegment, ...], tuple[MdSegment, ...]]:
    """Return the segments of the first steps and those of the rest; a ramp is cut in two."""
    before: list[MdSegment] = []
    after: list[MdSegment] = []
    for segment in protocol:
        n = min(segment.n_steps, n_first)
        n_first -= n
        if n:
            before.append(_part(segment, 0, n))
        if n < segment.n_steps:
            after.append(_part(segment, n, segment.n_steps))
    if not after:
        raise InputError("The burn-in takes all steps of the protocol; no frame would be graded.")
    return tuple(before), tuple(after)


def _part(segment: MdSegment, start: int, end: int) -> MdSegment:
    def at(value: float | tuple[float, float], step: int) -> float:
        first, last = _pair(value)
        return first + (last - first) * step / segment.n_steps

    return replace(
        segment,
        n_steps=end - start,
        temperature_K=(at(segment.temperature_K, start), at(segment.temperature_K, end)),
        pressure_GPa=(at(segment.pressure_GPa, start), at(segment.pressure_GPa, end)),
    )


def _positive(temperature: float) -> float:
    if temperature <= 0.0:
        raise InputError(
            f"A stage has the temperature {temperature:g} K, and GPUMD takes positive ones only. "
            "Use a small one, as 1 K."
        )
    return temperature


def _pair(value: float | tuple[float, float]) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return (float(value[0]), float(value[1]))
    return (float(value), float(value))


__all__ = ["Couplings", "protocol_run_in"]
