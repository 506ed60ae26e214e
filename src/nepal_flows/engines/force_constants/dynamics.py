"""Molecular dynamics of a crystal with its force constants, at fixed volume."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from ase.data import atomic_masses

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.md.dynamics import Checks, Stretch
from nepal_flows.core.md.integrators import (
    drift,
    kick,
    kinetic_energy,
    kinetic_temperature,
    stop_drift,
    thermalise,
)
from nepal_flows.core.md.random import fill_normals, random_state
from nepal_flows.core.md.thinning import BestOfBlocks
from nepal_flows.core.scoring import BarScore, Scale, scored_bars
from nepal_flows.core.structure import Structure
from nepal_flows.engines.force_constants.crystal import CrystalFit
from nepal_flows.engines.force_constants.model import ForceConstantFit
from nepal_flows.engines.md_collector import Collector, ErrorBars
from nepal_flows.engines.md_protocol import audit_steps, follow, stretches_of
from nepal_flows.engines.md_run import MdFrame, MdRun, MdSegment
from nepal_flows.engines.trigger import MdState, Trigger
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray
from nepal_flows.units import BOLTZMANN_EV_PER_K, KINETIC_ENERGY_FACTOR


class CrystalDynamics:
    """One run in progress: ``core.md.dynamics.Dynamics`` for a crystal with force constants.

    Parameters
    ----------
    fit
        Force constants in the run's supercell.
    start
        Where the run begins.
    temperature
        Of the initial velocities, K.
    seed
        Fixes velocities and all that is random after them.
    gate
        Ends the run when a check violates it.
    check_interval
        Steps between two checks.
    burn_in
        First steps of the run that are not checked.
    velocities
        Initial velocities, Å/fs, instead of random ones.

    Raises
    ------
    InputError
        If the start is not the supercell with atoms displaced.
    """

    def __init__(
        self,
        fit: ForceConstantFit,
        start: Structure,
        *,
        temperature: float,
        seed: int,
        gate: PhysicsGate,
        check_interval: int,
        burn_in: int = 0,
        velocities: FloatArray | None = None,
    ) -> None:
        self.fit = fit
        self.start = start
        self.gate = gate
        self.check_interval = check_interval
        self.burn_in = burn_in
        self.finished_steps = 0
        self.failure: str | None = None
        self.has_exploded = False
        self._masses = np.array(atomic_masses[start.numbers], dtype=np.float64)
        self._random = random_state(seed)
        self._noise = np.zeros(3 * start.n_atoms)
        self._displacements = fit.basis.displacements(start)
        self._positions = start.positions.copy()
        if velocities is None:
            self._velocities = self._drawn(temperature)
        else:
            self._velocities = velocities.copy()
        self._energy, self._forces = fit.evaluate(self._displacements)

    @property
    def structure(self) -> Structure:
        """The current frame."""
        return Structure(
            self.start.numbers, self._positions.copy(), self.start.cell, self.start.pbc
        )

    @property
    def velocities(self) -> FloatArray:
        """Current velocities, shape (n_atoms, 3), Å/fs."""
        return self._velocities.copy()

    def run(self, stretch: Stretch, *, n_done: int = 0, n_steps: int | None = None) -> Checks:
        """Run some steps of a stretch and return what was recorded.

        After a step at which an atom leaves its site, or a check that violates the gate,
        :attr:`failure` holds the reason and nothing runs any more.

        Raises
        ------
        InputError
            If the volume is to change.
        """
        if stretch.ensemble == "npt":
            raise InputError("Force constants are those of one volume; use `nvt` or `nve`.")
        n_steps = stretch.n_steps - n_done if n_steps is None else n_steps
        scalars: list[list[float]] = []
        positions: list[FloatArray] = []
        for k in range(n_steps):
            if self.failure is not None:
                break
            progress = (n_done + k + 1) / stretch.n_steps
            first, last = stretch.temperature
            target = first + progress * (last - first)
            self._step(stretch, target)
            if self.failure is not None:
                break
            step = self.finished_steps + 1
            if step % self.check_interval == 0 and step > self.burn_in:
                row = self._checked(step, target)
                if self.failure is not None:
                    break
                scalars.append(row)
                positions.append(self._positions.copy())
            self.finished_steps = step
        return self._checks(scalars, positions)

    def frame(self, checks: Checks, index: int) -> Structure:
        """Return the structure of one check."""
        positions = checks.positions[index].copy()
        return Structure(self.start.numbers, positions, self.start.cell, self.start.pbc)

    def _step(self, stretch: Stretch, temperature: float) -> None:
        """Do one step, as the compiled loop of a NEP does."""
        half = 0.5 * stretch.time_step
        before = self._positions.copy()
        kick(self._velocities, self._forces, self._masses, half)
        drift(self._positions, self._velocities, half)
        if stretch.ensemble == "nvt":
            thermalise(
                self._velocities,
                self._masses,
                temperature,
                stretch.time_step,
                stretch.thermostat_time,
                self._random,
                self._noise,
            )
        drift(self._positions, self._velocities, half)
        self._displacements += self._positions - before
        farthest = float(np.linalg.norm(self._displacements, axis=1).max())
        limit = self.fit.basis.farthest_A
        if not farthest < limit:
            self.failure = f"an atom is {farthest:.2f} Å away from its site, allowed {limit:.2f} Å"
            return
        self._energy, self._forces = self.fit.evaluate(self._displacements)
        kick(self._velocities, self._forces, self._masses, half)

    def _checked(self, step: int, target: float) -> list[float]:
        """Return what is recorded at a check; note why the gate bars it, if it does."""
        kinetic = kinetic_energy(self._velocities, self._masses)
        temperature = kinetic_temperature(kinetic, self.start.n_atoms)
        self.failure = self.gate.violation(
            self.structure, temperature=temperature, target_temperature=target
        )
        return [step, temperature, target, self._energy, kinetic]

    def _checks(self, scalars: list[list[float]], positions: list[FloatArray]) -> Checks:
        n = len(scalars)
        columns = np.array(scalars).reshape(n, 5).T
        return Checks(
            steps=columns[0].astype(np.int64),
            temperature=columns[1],
            target_temperature=columns[2],
            potential_energy=columns[3],
            kinetic_energy=columns[4],
            pressure=np.full(n, np.nan),
            volume=np.full(n, self.start.volume),
            positions=np.array(positions).reshape(n, self.start.n_atoms, 3),
            cells=np.tile(self.start.cell, (n, 1, 1)),
            factors=None,
        )

    def _drawn(self, temperature: float) -> FloatArray:
        """Return Maxwell-Boltzmann velocities without motion of the centre of mass."""
        fill_normals(self._random, self._noise)
        kT = BOLTZMANN_EV_PER_K * temperature
        spread = np.sqrt(kT / (self._masses * KINETIC_ENERGY_FACTOR))
        velocities = self._noise.reshape(-1, 3) * spread[:, None]
        stop_drift(velocities, self._masses)
        return velocities


def run_crystal_md(
    structure: Structure,
    fit: CrystalFit,
    protocol: Sequence[MdSegment],
    *,
    scale: Scale,
    trigger: Trigger | None = None,
    resumed: MdState | None = None,
    seed: int,
    check_interval: int = 10,
    gamma_low: float = 2.0,
    gamma_stop: float | None = None,
    candidate_ceiling: float = 1e9,
    n_candidates: int = 25,
    n_audit: int = 0,
    gate: PhysicsGate,
    time_step_fs: float = 2.0,
    burn_in_steps: int = 0,
    thermostat_time_fs: float = 100.0,
    barostat_time_fs: float = 1000.0,
    bulk_modulus_GPa: float = 100.0,
    progress: Callable[[int, int], None] | None = None,
) -> MdRun:
    """Run dynamics with force constants along a protocol and return what it met.

    Arguments are those of :func:`~nepal_flows.engines.native_md.run_native_md`; frames are scored
    by R of the Bayesian error, which is exact for a linear model, on the `scale`. Where a
    trajectory with a `trigger` breaks down before the next check, its last sound frame is the
    candidate if it would have interrupted: the expansion learns from it what it was lacking.

    Raises
    ------
    InputError
        If the protocol is empty or changes the volume, or the structure is none of the crystal's
        supercells with atoms displaced.
    """
    if not protocol:
        raise InputError("The protocol is empty; give at least one segment.")
    first_step, first_volume = 0, structure.volume
    if resumed is not None:
        structure, first_step, first_volume = (
            resumed.structure, resumed.step, resumed.first_volume,
        )  # fmt: skip
    stretches = stretches_of(
        protocol,
        time_step_fs=time_step_fs,
        thermostat_time_fs=thermostat_time_fs,
        barostat_time_fs=barostat_time_fs,
        bulk_modulus_GPa=bulk_modulus_GPa,
    )
    own = fit.at(structure)
    score = BarScore(own, scale)
    dynamics = CrystalDynamics(
        own,
        structure,
        temperature=stretches[0].temperature[0],
        seed=seed,
        gate=gate,
        check_interval=check_interval,
        burn_in=burn_in_steps,
        velocities=None if resumed is None else resumed.velocities,
    )
    dynamics.finished_steps = first_step
    collector = Collector(
        dynamics=dynamics,
        active_set=None,
        grade_scale=None,
        bars=ErrorBars([score]),
        gamma_low=gamma_low,
        gamma_stop=gamma_stop,
        trigger=trigger,
        first_step=first_step,
        first_volume=first_volume,
        ceiling=candidate_ceiling,
        candidates=BestOfBlocks(n_candidates),
        audit_steps=audit_steps(
            stretches,
            n_audit,
            first_step=max(burn_in_steps, first_step),
            check_interval=check_interval,
            seed=seed,
        ),
    )
    run = follow(
        dynamics,
        stretches,
        collector,
        n_per_call=check_interval,
        violation=gate.violation(structure),
        progress=progress,
    )
    broken = run.outcome in ("stopped_by_gate", "crashed")
    if trigger is None or not broken or collector.last is None:
        return run
    bars = scored_bars([score], collector.last)
    largest = float(bars.ratios.max())
    if bars.largest_force <= trigger.limit and largest <= trigger.score:
        return run
    last = MdFrame(collector.last, int(run.trace.step[-1]), largest, bars.ratios)
    return replace(run, candidates=(*run.candidates, last))


__all__ = ["CrystalDynamics", "run_crystal_md"]
