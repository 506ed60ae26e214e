"""Trajectories of the teacher: labelled frames no training has seen, from any ASE calculator.

The same Langevin integrator and barostat as the exploration's, driven by the calculator's forces,
so that model and teacher are compared in the same ensemble. Meant for cheap teachers; an expensive
one is called once per step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase.calculators.calculator import BaseCalculator
from ase.data import atomic_masses

from nepal_flows.core.md.integrators import (
    LARGEST_VOLUME_STEP,
    drift,
    kick,
    stop_drift,
    thermalise,
    volume_factor,
)
from nepal_flows.core.md.random import fill_normals, random_state
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.md_run import Ensemble, MdSegment
from nepal_flows.errors import EngineError, InputError
from nepal_flows.io.structures import atoms_from_structure, labelled_from_atoms
from nepal_flows.typing import AnyArray, FloatArray
from nepal_flows.units import (
    BOLTZMANN_EV_PER_K,
    EV_PER_CUBIC_ANGSTROM_TO_GPA,
    KINETIC_ENERGY_FACTOR,
)

_BAROSTAT_INTERVAL = 10
"""Steps between changes of the volume; each makes calculators list their neighbours again."""


def run_teacher_md(
    structure: Structure,
    calculator: BaseCalculator,
    *,
    temperature_K: float,
    n_frames: int,
    interval_steps: int,
    seed: int,
    equilibration_steps: int = 500,
    melt_temperature_K: float | None = None,
    melt_steps: int = 2000,
    pressure_GPa: float | None = 0.0,
    time_step_fs: float = 2.0,
    thermostat_time_fs: float = 100.0,
    barostat_time_fs: float = 1000.0,
    bulk_modulus_GPa: float = 100.0,
    progress: Callable[[int, int], None] | None = None,
) -> list[LabelledStructure]:
    """Return labelled frames of a trajectory that a calculator drives.

    Parameters
    ----------
    structure
        Where the trajectory begins.
    calculator
        ASE calculator with forces and, unless the volume is fixed, stress.
    temperature_K
        Of the equilibration and of the recorded part.
    n_frames, interval_steps
        Frames to record, and steps between two of them.
    seed
        Fixes the trajectory.
    equilibration_steps
        Steps before the first interval.
    melt_temperature_K, melt_steps
        Melt first at this temperature, for so many steps; None for a crystal.
    pressure_GPa
        Pressure of the isotropic barostat; None keeps the volume.
    time_step_fs, thermostat_time_fs, barostat_time_fs, bulk_modulus_GPa
        Integration and couplings.
    progress
        Called with the finished and requested steps after every step.

    Returns
    -------
    list of LabelledStructure
        With force-consistent energies, and with virials where the calculator has stresses.

    Raises
    ------
    InputError
        If a number of steps makes no sense, or an open structure is to change its volume.
    EngineError
        If the calculator fails or the trajectory explodes.
    """
    if n_frames < 1 or interval_steps < 1 or equilibration_steps < 0 or melt_steps < 1:
        raise InputError(
            f"`n_frames`={n_frames}, `interval_steps`={interval_steps}, `melt_steps`={melt_steps} "
            f"must be at least 1, `equilibration_steps`={equilibration_steps} at least 0."
        )
    if pressure_GPa is not None and not all(structure.pbc):
        raise InputError("An open structure has no pressure: set `pressure_GPa` to None.")
    ensemble: Ensemble = "nvt" if pressure_GPa is None else "npt"
    pressure = pressure_GPa or 0.0
    segments = [MdSegment(ensemble, temperature_K, equilibration_steps, pressure)]
    if melt_temperature_K is not None:
        segments.insert(0, MdSegment(ensemble, melt_temperature_K, melt_steps, pressure))
    segments += [MdSegment(ensemble, temperature_K, interval_steps, pressure)] * n_frames
    runner = _TeacherRun(
        structure,
        calculator,
        seed=seed,
        time_step=time_step_fs,
        thermostat_time=thermostat_time_fs,
        mobility=EV_PER_CUBIC_ANGSTROM_TO_GPA / (bulk_modulus_GPa * barostat_time_fs),
        progress=progress,
        n_requested=sum(segment.n_steps for segment in segments),
    )
    runner.draw_velocities(_temperature(segments[0]))
    frames = []
    for index, segment in enumerate(segments):
        runner.run(segment)
        if index >= len(segments) - n_frames:
            frames.append(runner.labelled())
    return frames


def _temperature(segment: MdSegment) -> float:
    value = segment.temperature_K
    return float(value[0] if isinstance(value, Sequence) else value)


class _TeacherRun:
    """One trajectory in progress; positions and cell live in ``atoms``."""

    def __init__(
        self,
        structure: Structure,
        calculator: BaseCalculator,
        *,
        seed: int,
        time_step: float,
        thermostat_time: float,
        mobility: float,
        progress: Callable[[int, int], None] | None,
        n_requested: int,
    ) -> None:
        self.atoms: Any = atoms_from_structure(structure)  # ASE is partly annotated
        self.atoms.calc = calculator
        self._masses = np.array(atomic_masses[structure.numbers], dtype=np.float64)
        self._random: AnyArray = random_state(seed)
        self._noise = np.zeros(3 * structure.n_atoms)
        self._velocities = np.zeros((structure.n_atoms, 3))
        self._time_step = time_step
        self._thermostat_time = thermostat_time
        self._mobility = mobility
        self._progress = progress
        self._n_requested = n_requested
        self._n_finished = 0

    def draw_velocities(self, temperature: float) -> None:
        """Draw Maxwell-Boltzmann velocities without motion of the centre of mass."""
        fill_normals(self._random, self._noise)
        kT = BOLTZMANN_EV_PER_K * temperature
        spread = np.sqrt(kT / (self._masses * KINETIC_ENERGY_FACTOR))
        self._velocities[:] = self._noise.reshape(-1, 3) * spread[:, None]
        stop_drift(self._velocities, self._masses)

    def run(self, segment: MdSegment) -> None:
        """Run one segment at its first temperature and pressure."""
        temperature = _temperature(segment)
        for _ in range(segment.n_steps):
            self._step(segment, temperature)
            self._n_finished += 1
            if self._progress is not None:
                self._progress(self._n_finished, self._n_requested)

    def labelled(self) -> LabelledStructure:
        """Return the current frame with its labels."""
        if "stress" in self.atoms.calc.implemented_properties:
            self.atoms.get_stress()
        return labelled_from_atoms(self.atoms)

    def _step(self, segment: MdSegment, temperature: float) -> None:
        half = 0.5 * self._time_step
        kick(self._velocities, self._forces(), self._masses, half)
        if segment.ensemble == "npt" and self._n_finished % _BAROSTAT_INTERVAL == 0:
            self._change_volume(segment, temperature)
        positions = self.atoms.positions.copy()
        drift(positions, self._velocities, half)
        thermalise(
            self._velocities,
            self._masses,
            temperature,
            self._time_step,
            self._thermostat_time,
            self._random,
            self._noise,
        )
        drift(positions, self._velocities, half)
        self.atoms.positions = positions
        kick(self._velocities, self._forces(), self._masses, half)

    def _forces(self) -> FloatArray:
        try:
            forces = np.array(self.atoms.get_forces(), dtype=np.float64)
        except Exception as error:  # calculators raise whatever their codes do
            raise EngineError(
                f"The calculator failed at step {self._n_finished} of the teacher's trajectory "
                f"({type(error).__name__}: {error})."
            ) from error
        if not np.isfinite(forces).all():
            raise EngineError(
                f"The teacher's forces are no finite numbers at step {self._n_finished}. Use a "
                "smaller time step or a lower temperature."
            )
        return forces

    def _change_volume(self, segment: MdSegment, temperature: float) -> None:
        volume = float(self.atoms.get_volume())
        stress = self.atoms.get_stress(voigt=False)
        factor = volume_factor(
            volume,
            -volume * float(np.trace(stress)),
            len(self.atoms),
            temperature,
            float(np.ravel(segment.pressure_GPa)[0]) / EV_PER_CUBIC_ANGSTROM_TO_GPA,
            self._mobility,
            self._time_step * _BAROSTAT_INTERVAL,
            self._random,
            self._noise,
        )
        if not abs(factor - 1.0) <= LARGEST_VOLUME_STEP:
            raise EngineError(
                f"The volume changed by a factor {factor:.3g} at step {self._n_finished} of the "
                "teacher's trajectory. Use a smaller time step or a larger `barostat_time_fs`."
            )
        self.atoms.set_cell(self.atoms.cell * np.cbrt(factor), scale_atoms=True)


__all__ = ["run_teacher_md"]
