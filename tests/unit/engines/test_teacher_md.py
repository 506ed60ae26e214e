"""Trajectories of the teacher: labels, ensemble, reproducibility, failures."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from nepal_flows.core.structure import Structure
from nepal_flows.engines.teacher_md import run_teacher_md
from nepal_flows.errors import EngineError, InputError
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms

COPPER = structure_from_atoms(bulk("Cu", cubic=True))
SETTINGS = {
    "temperature_K": 600.0,
    "n_frames": 3,
    "interval_steps": 10,
    "equilibration_steps": 20,
    "seed": 2,
}


def test_frames_carry_the_teachers_labels() -> None:
    frames = run_teacher_md(COPPER, EMT(), **SETTINGS)
    assert len(frames) == 3
    for frame in frames:
        atoms = atoms_from_structure(frame.structure)
        atoms.calc = EMT()
        assert frame.energy == pytest.approx(atoms.get_potential_energy(force_consistent=True))
        np.testing.assert_allclose(frame.forces, atoms.get_forces(), atol=1e-10)
        np.testing.assert_allclose(
            frame.virial, -atoms.get_volume() * atoms.get_stress(voigt=False), atol=1e-10
        )
        assert frame.structure.volume != COPPER.volume


def test_seed_fixes_the_trajectory() -> None:
    one, two = (run_teacher_md(COPPER, EMT(), **SETTINGS)[-1] for _ in range(2))
    other = run_teacher_md(COPPER, EMT(), **{**SETTINGS, "seed": 3})[-1]
    assert (one.structure.positions == two.structure.positions).all()
    assert not (one.structure.positions == other.structure.positions).any()


def test_volume_is_kept_without_pressure() -> None:
    frames = run_teacher_md(COPPER, EMT(), pressure_GPa=None, **SETTINGS)
    assert all((frame.structure.cell == COPPER.cell).all() for frame in frames)


def test_crystal_has_the_energy_of_its_temperature() -> None:
    # Three degrees of freedom per atom but for the centre of mass, nearly harmonic at 300 K.
    start = structure_from_atoms(bulk("Cu", cubic=True) * (2, 2, 1))
    settings = {**SETTINGS, "temperature_K": 300.0, "n_frames": 70, "equilibration_steps": 200}
    frames = run_teacher_md(
        start,
        EMT(),
        pressure_GPa=None,
        thermostat_time_fs=50.0,
        **settings,
    )
    atoms = atoms_from_structure(start)
    atoms.calc = EMT()
    energy = np.mean([frame.energy for frame in frames]) - atoms.get_potential_energy()
    assert energy == pytest.approx(0.5 * 45 * 8.617e-5 * 300.0, rel=0.15)


def test_pressure_compresses_the_crystal() -> None:
    settings = {**SETTINGS, "barostat_time_fs": 100.0, "equilibration_steps": 200}
    free = run_teacher_md(COPPER, EMT(), **settings)
    pressed = run_teacher_md(COPPER, EMT(), pressure_GPa=30.0, **settings)
    assert pressed[-1].structure.volume < 0.93 * free[-1].structure.volume


def test_melt_disorders_the_crystal() -> None:
    start = structure_from_atoms(bulk("Cu", cubic=True) * (2, 2, 2))
    steps: list[int] = []
    (frame,) = run_teacher_md(
        start, EMT(), melt_temperature_K=4000.0, melt_steps=300,
        **{**SETTINGS, "n_frames": 1}, progress=lambda done, asked: steps.append(asked - done),
    )  # fmt: skip
    moved = (frame.structure.positions - start.positions) @ np.linalg.inv(start.cell)
    assert np.abs(moved - moved.mean(axis=0)).max() > 0.2
    assert steps == list(range(329, -1, -1))


class Broken(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, value: float | None) -> None:
        super().__init__()
        self.value = value

    def calculate(self, atoms=None, properties=(), system_changes=()) -> None:
        super().calculate(atoms, properties, system_changes)
        if self.value is None:
            raise RuntimeError("SCF did not converge")
        n = len(atoms)
        self.results = {
            "energy": 0.0,
            "forces": np.full((n, 3), self.value),
            "stress": np.full(6, 1e3),
        }


@pytest.mark.parametrize(
    ("value", "message"), [(None, "SCF did not converge"), (np.nan, "finite"), (0.0, "factor")]
)
def test_failures_of_the_teacher_are_named(value: float | None, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        run_teacher_md(COPPER, Broken(value), **SETTINGS)


def test_open_structure_needs_a_fixed_volume() -> None:
    dimer = Structure(np.full(2, 29), np.eye(3)[:2] * 2.3, 12 * np.eye(3), (False,) * 3)
    with pytest.raises(InputError, match="pressure_GPa"):
        run_teacher_md(dimer, EMT(), **SETTINGS)
    assert len(run_teacher_md(dimer, EMT(), pressure_GPa=None, **SETTINGS)) == 3


def test_counts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="n_frames"):
        run_teacher_md(COPPER, EMT(), **{**SETTINGS, "n_frames": 0})
