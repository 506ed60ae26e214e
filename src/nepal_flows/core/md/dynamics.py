"""Molecular dynamics of one structure with one model, advanced piece by piece.

:class:`Dynamics` owns the state that the compiled loop works on. It is deterministic: model,
structure, seed and stretches fix every bit of the trajectory on one machine, however it is cut
into calls.
"""

from dataclasses import dataclass

import numpy as np

from nepal_flows.core.gate import TEMPERATURE_FLUCTUATION, PhysicsGate
from nepal_flows.core.md import loop
from nepal_flows.core.md.integrators import stop_drift
from nepal_flows.core.md.random import fill_normals, random_state
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import prepared_arrays
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import AnyArray, FloatArray, IntArray
from nepal_flows.units import (
    BOLTZMANN_EV_PER_K,
    EV_PER_CUBIC_ANGSTROM_TO_GPA,
    KINETIC_ENERGY_FACTOR,
)

SKIN = 0.5
"""Width of the Verlet skin, Å."""

_LARGEST_BATCH_ROWS = 4096
ENSEMBLES = {"nve": loop.NVE, "nvt": loop.NVT, "npt": loop.NPT}


@dataclass(frozen=True)
class Stretch:
    """A part of a run with one ensemble; temperature and pressure run linearly between two values.

    Attributes
    ----------
    ensemble
        ``nve``, ``nvt`` or ``npt`` (isotropic).
    temperature
        First and last target, K.
    pressure
        First and last target, eV/Å^3; used by ``npt``.
    n_steps
        Number of steps.
    time_step
        fs.
    thermostat_time
        Decay time of a velocity, fs.
    barostat_time
        Relaxation time of the volume, fs.
    bulk_modulus
        Rough bulk modulus, eV/Å^3; only the speed of the barostat depends on it.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    ensemble: str
    temperature: tuple[float, float]
    n_steps: int
    pressure: tuple[float, float] = (0.0, 0.0)
    time_step: float = 2.0
    thermostat_time: float = 100.0
    barostat_time: float = 1000.0
    bulk_modulus: float = 100.0 / EV_PER_CUBIC_ANGSTROM_TO_GPA

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise InputError(
                f"`ensemble` is `{self.ensemble}`, expected {', '.join(sorted(ENSEMBLES))}."
            )
        if self.n_steps < 1 or min(self.temperature) < 0.0:
            raise InputError(
                f"`n_steps` is {self.n_steps} and `temperature` {self.temperature} K, expected at "
                "least one step and temperatures that are not negative."
            )
        for name in ("time_step", "thermostat_time", "barostat_time", "bulk_modulus"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InputError(f"`{name}` is {getattr(self, name)}, expected a positive number.")


@dataclass(frozen=True, eq=False)
class Checks:
    """What was recorded at the checks of one call.

    Attributes
    ----------
    steps
        Steps of the run at which the checks fell, shape (n_checks,).
    temperature, target_temperature
        Kinetic and target temperature, K.
    potential_energy, kinetic_energy
        eV.
    pressure
        Of the atoms, kinetic part included, eV/Å^3, positive when compressed.
    volume
        Å^3.
    positions, cells
        Shapes (n_checks, n_atoms, 3) and (n_checks, 3, 3), Å.
    factors
        Of the B-projections of all atoms, frame after frame (n_checks n_atoms rows); None if
        the run does not grade.
    """

    steps: IntArray
    temperature: FloatArray
    target_temperature: FloatArray
    potential_energy: FloatArray
    kinetic_energy: FloatArray
    pressure: FloatArray
    volume: FloatArray
    positions: FloatArray
    cells: FloatArray
    factors: ProjectionFactors | None

    def __len__(self) -> int:
        return len(self.steps)


class Dynamics:
    """One run in progress.

    Parameters
    ----------
    model
        The potential.
    structure
        Where the run begins.
    masses
        Of every atom, shape (n_atoms,), amu.
    temperature
        Of the initial velocities, K.
    seed
        Fixes velocities and all that is random after them.
    gate
        Ends the run when a step violates it.
    check_interval
        Steps between two checks.
    burn_in
        First steps of the run that are not checked.
    with_factors
        Whether checks carry the factors of the B-projections.
    velocities
        Initial velocities, Å/fs, instead of random ones; used as they are.

    Raises
    ------
    InputError
        If masses or intervals make no sense.
    ModelError
        If the model does not know an element.
    """

    def __init__(
        self,
        model: NepModel,
        structure: Structure,
        *,
        masses: FloatArray,
        temperature: float,
        seed: int,
        gate: PhysicsGate,
        check_interval: int = 10,
        burn_in: int = 0,
        with_factors: bool = True,
        velocities: FloatArray | None = None,
        skin: float = SKIN,
    ) -> None:
        masses = np.array(masses, dtype=np.float64)
        if masses.shape != (structure.n_atoms,) or not (masses > 0.0).all():
            raise InputError(f"`masses` needs {structure.n_atoms} positive numbers, in amu.")
        if check_interval < 1 or burn_in < 0:
            raise InputError(
                f"`check_interval` is {check_interval} and `burn_in` {burn_in}, expected at least "
                "1 and 0."
            )
        self.model = model
        self.start = structure
        self.gate = gate
        self.check_interval = check_interval
        self.burn_in = burn_in
        self.with_factors = with_factors
        self.finished_steps = 0
        self.failure: str | None = None
        self.has_exploded = False
        self._skin = skin
        self._potential = prepared_arrays(model)
        self._state = _initial_state(model, structure, masses, seed)
        if velocities is None:
            _draw_velocities(self._state, temperature)
        else:
            self._state.velocities[:] = velocities
        self._limits = self._gate_limits()
        self._reach = model.architecture.largest_cutoff
        empty = np.zeros(0, dtype=np.int32)
        no_list = (np.zeros(structure.n_atoms + 1, dtype=np.int64), empty, empty)
        self._neighbours = (*no_list, np.zeros((0, 3), dtype=np.int32))

    @property
    def structure(self) -> Structure:
        """The current frame."""
        return self._frame(self._state.positions, self._state.cell)

    @property
    def velocities(self) -> FloatArray:
        """Current velocities, shape (n_atoms, 3), Å/fs."""
        return self._state.velocities.copy()

    def checks_per_call(self) -> int:
        """Return the number of checks that one call should hold, for speed and memory."""
        return max(1, min(32, _LARGEST_BATCH_ROWS // self.start.n_atoms))

    def run(self, stretch: Stretch, *, n_done: int = 0, n_steps: int | None = None) -> Checks:
        """Run some steps of a stretch and return what was recorded.

        After a step that violates the gate, or is not finite, :attr:`failure` holds the reason
        and nothing runs any more.

        Parameters
        ----------
        stretch
            Ensemble, targets and couplings.
        n_done
            Steps of the stretch that were run before.
        n_steps
            How many to run; the rest of the stretch by default.

        Raises
        ------
        InputError
            If a structure that is open in some direction is to change its volume.
        """
        if stretch.ensemble == "npt" and not all(self.start.pbc):
            raise InputError(
                f"The structure is periodic along {self.start.pbc}, but npt changes the volume. "
                "Use `nvt`, or a structure that is periodic in all directions."
            )
        n_steps = stretch.n_steps - n_done if n_steps is None else n_steps
        if self.failure is not None:
            n_steps = 0
        records = self._room(n_steps // self.check_interval + 1)
        status, values, n_finished, n_records, self._neighbours = loop.advance(
            self._potential,
            self._state,
            self._neighbours,
            self._reach,
            self._skin,
            _compiled(stretch),
            self._limits,
            records,
            n_done,
            n_steps,
            self.finished_steps - n_done,
            self.check_interval,
            self.burn_in,
        )
        self.finished_steps += n_finished
        if status != loop.SOUND:
            self.failure = self._reason(status, values)
            self.has_exploded = status in (loop.NOT_FINITE, loop.VOLUME_JUMP)
        return self._checks(records, n_records)

    def frame(self, checks: Checks, index: int) -> Structure:
        """Return the structure of one check."""
        return self._frame(checks.positions[index], checks.cells[index])

    def _frame(self, positions: FloatArray, cell: FloatArray) -> Structure:
        return Structure(self.start.numbers, positions.copy(), cell.copy(), self.start.pbc)

    def _room(self, n_checks: int) -> loop.Records:
        n_atoms = self.start.n_atoms
        a = self.model.architecture
        n_graded = n_checks if self.with_factors else 0
        return loop.Records(
            scalars=np.zeros((n_checks, loop.N_SCALARS)),
            positions=np.zeros((n_checks, n_atoms, 3)),
            cells=np.zeros((n_checks, 3, 3)),
            y=np.zeros((n_graded, n_atoms, a.n_descriptors)),
            v=np.zeros((n_graded, n_atoms, a.n_neurons)),
            t=np.zeros((n_graded, n_atoms, a.n_neurons)),
        )

    def _checks(self, records: loop.Records, n: int) -> Checks:
        columns = records.scalars[:n].T
        factors = None
        if self.with_factors:
            factors = ProjectionFactors(
                types=np.tile(self._state.types, n),
                y=records.y[:n].reshape(-1, records.y.shape[2]),
                v=records.v[:n].reshape(-1, records.v.shape[2]),
                t=records.t[:n].reshape(-1, records.t.shape[2]),
            )
        return Checks(
            steps=columns[0].astype(np.int64),
            temperature=columns[1],
            target_temperature=columns[2],
            potential_energy=columns[3],
            kinetic_energy=columns[4],
            pressure=columns[5],
            volume=columns[6],
            positions=records.positions[:n],
            cells=records.cells[:n],
            factors=factors,
        )

    def _gate_limits(self) -> loop.Limits:
        gate, n_atoms, volume = self.gate, self.start.n_atoms, self.start.volume
        return loop.Limits(
            distances=gate.distance_matrix(self.model.architecture.atomic_numbers),
            smallest_volume=gate.volume_ratio[0] * volume,
            largest_volume=gate.volume_ratio[1] * volume,
            temperature_factor=gate.temperature_factor + TEMPERATURE_FLUCTUATION / np.sqrt(n_atoms),
            temperature_margin=gate.temperature_margin,
        )

    def _reason(self, status: int, values: AnyArray) -> str:
        gate, numbers = self.gate, self.start.numbers
        if status == loop.TOO_HOT:
            limit = gate.largest_temperature(float(values[1]), self.start.n_atoms)
            return gate.temperature_reason(float(values[0]), limit)
        if status == loop.BAD_VOLUME:
            return gate.volume_reason(float(values[0]) / self.start.volume)
        if status == loop.TOO_CLOSE:
            first, second = numbers[int(values[0])], numbers[int(values[1])]
            return gate.distance_reason(first, second, float(values[2]))
        if status == loop.VOLUME_JUMP:
            return f"the volume changed by a factor {values[0]:.3g} in one step"
        return "energies or positions are no longer finite numbers"


def _initial_state(
    model: NepModel, structure: Structure, masses: FloatArray, seed: int
) -> loop.MdState:
    n_atoms = structure.n_atoms
    return loop.MdState(
        types=model.architecture.types_of(structure.numbers),
        masses=masses,
        pbc=np.array(structure.pbc, dtype=np.bool_),
        positions=structure.positions.copy(),
        velocities=np.zeros((n_atoms, 3)),
        forces=np.zeros((n_atoms, 3)),
        cell=structure.cell.copy(),
        virial=np.zeros((3, 3)),
        energies=np.zeros(n_atoms),
        reference=np.zeros((n_atoms, 3)),
        scale=np.zeros(1),
        random=random_state(seed),
        noise=np.zeros(3 * n_atoms),
        nothing=np.zeros((0, 0)),
    )


def _draw_velocities(state: loop.MdState, temperature: float) -> None:
    """Draw Maxwell-Boltzmann velocities without motion of the centre of mass."""
    fill_normals(state.random, state.noise)
    kT = BOLTZMANN_EV_PER_K * temperature
    spread = np.sqrt(kT / (state.masses * KINETIC_ENERGY_FACTOR))
    state.velocities[:] = state.noise.reshape(-1, 3) * spread[:, None]
    stop_drift(state.velocities, state.masses)


def _compiled(stretch: Stretch) -> loop.Stretch:
    return loop.Stretch(
        ensemble=ENSEMBLES[stretch.ensemble],
        first_temperature=float(stretch.temperature[0]),
        last_temperature=float(stretch.temperature[1]),
        first_pressure=float(stretch.pressure[0]),
        last_pressure=float(stretch.pressure[1]),
        n_steps=int(stretch.n_steps),
        time_step=float(stretch.time_step),
        thermostat_time=float(stretch.thermostat_time),
        mobility=1.0 / (float(stretch.bulk_modulus) * float(stretch.barostat_time)),
    )


__all__ = ["ENSEMBLES", "SKIN", "Checks", "Dynamics", "Stretch"]
