"""Compiled dynamics against ASE's, against exact ensembles, and at the gate."""

import threading

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.md.verlet import VelocityVerlet

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.md.dynamics import Checks, Dynamics, Stretch
from nepal_flows.core.nep.model import NepArchitecture, NepModel, Zbl, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms
from nepal_flows.units import BOLTZMANN_EV_PER_K

COPPER_MASS = 63.546
OPEN_GATE = PhysicsGate(volume_ratio=(0.3, 3.0), temperature_margin=1e6)


def copper_cell(repeat: int, *, rattle: float = 0.0) -> Structure:
    atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=0)
    return structure_from_atoms(atoms)


class Nep(Calculator):
    implemented_properties = ("energy", "forces")

    def __init__(self, model: NepModel) -> None:
        super().__init__()
        self.model = model

    def calculate(self, atoms=None, properties=(), system_changes=()) -> None:
        super().calculate(atoms, properties, system_changes)
        prediction = predict(self.model, structure_from_atoms(atoms))
        self.results = {"energy": prediction.energy, "forces": prediction.forces}


def copper_dynamics(model: NepModel, structure: Structure, **options: object) -> Dynamics:
    masses = np.full(structure.n_atoms, COPPER_MASS)
    settings = {"temperature": 300.0, "seed": 1, "gate": OPEN_GATE, "with_factors": False}
    return Dynamics(model, structure, masses=masses, **{**settings, **options})


def nve(n_steps: int, time_step: float = 2.0) -> Stretch:
    return Stretch("nve", (300.0, 300.0), n_steps, time_step=time_step)


def test_trajectory_is_that_of_ases_velocity_verlet(copper_model: NepModel) -> None:
    structure = copper_cell(2, rattle=0.05)
    dynamics = copper_dynamics(copper_model, structure)
    atoms = atoms_from_structure(structure)
    atoms.set_masses(np.full(structure.n_atoms, COPPER_MASS))
    atoms.set_velocities(dynamics.velocities / units.fs)
    atoms.calc = Nep(copper_model)
    dynamics.run(nve(100))
    VelocityVerlet(atoms, 2.0 * units.fs).run(100)
    difference = (dynamics.structure.positions - atoms.positions) @ np.linalg.inv(atoms.cell)
    difference -= np.rint(difference)
    assert np.abs(difference @ atoms.cell).max() < 1e-6
    np.testing.assert_allclose(dynamics.velocities, atoms.get_velocities() * units.fs, atol=1e-7)


def test_energy_is_conserved_to_second_order(copper_model: NepModel) -> None:
    ranges = []
    for time_step in (4.0, 2.0):
        dynamics = copper_dynamics(copper_model, copper_cell(2), check_interval=1)
        checks = dynamics.run(nve(int(800 / time_step), time_step))
        total = checks.potential_energy + checks.kinetic_energy
        ranges.append(np.ptp(total) / 32)
    assert ranges[1] < 1e-4
    assert 3.0 < ranges[0] / ranges[1] < 5.5


def test_lists_with_and_without_skin_give_one_trajectory(copper_model: NepModel) -> None:
    structure = copper_cell(1, rattle=0.05)
    ends = []
    for skin in (0.0, 0.5):
        dynamics = copper_dynamics(copper_model, structure, skin=skin)
        dynamics.run(nve(200))
        ends.append(dynamics.velocities)
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-9)


def test_cutting_a_run_into_calls_changes_nothing(copper_model: NepModel) -> None:
    stretch = Stretch("npt", (300.0, 500.0), 90)
    whole = copper_dynamics(copper_model, copper_cell(1), with_factors=True)
    all_checks = whole.run(stretch)
    pieces = copper_dynamics(copper_model, copper_cell(1), with_factors=True)
    parts = [pieces.run(stretch, n_done=n, n_steps=30) for n in (0, 30, 60)]
    assert (whole.structure.positions == pieces.structure.positions).all()
    assert (whole.velocities == pieces.velocities).all()
    assert (np.concatenate([p.steps for p in parts]) == all_checks.steps).all()
    assert (np.concatenate([p.factors.y for p in parts]) == all_checks.factors.y).all()


def test_seed_fixes_the_run_bit_by_bit_beside_other_runs(copper_model: NepModel) -> None:
    stretch = Stretch("nvt", (300.0, 300.0), 50)
    first = copper_dynamics(copper_model, copper_cell(1), seed=4)
    first.run(stretch)
    second = copper_dynamics(copper_model, copper_cell(1), seed=4)
    other = copper_dynamics(copper_model, copper_cell(1), seed=5)
    for n in range(50):
        second.run(stretch, n_done=n, n_steps=1)
        other.run(stretch, n_done=n, n_steps=1)
    assert (first.velocities == second.velocities).all()
    assert not (first.velocities == other.velocities).any()


def test_checks_fall_on_multiples_after_the_burn_in(copper_model: NepModel) -> None:
    dynamics = copper_dynamics(copper_model, copper_cell(1), check_interval=7, burn_in=20)
    first = dynamics.run(Stretch("nvt", (300.0, 400.0), 25))
    second = dynamics.run(Stretch("nvt", (500.0, 500.0), 25))
    assert first.steps.tolist() == [21]
    assert second.steps.tolist() == [28, 35, 42, 49]
    assert first.target_temperature.tolist() == [384.0]
    assert dynamics.finished_steps == 50


def test_recorded_factors_are_those_of_the_recorded_frame(copper_model: NepModel) -> None:
    dynamics = copper_dynamics(copper_model, copper_cell(1, rattle=0.1), with_factors=True)
    checks = dynamics.run(Stretch("npt", (300.0, 300.0), 30))
    frame = dynamics.frame(checks, 1)
    expected = projection_factors(copper_model, frame)
    np.testing.assert_allclose(checks.factors.y[4:8], expected.y, atol=1e-10)
    np.testing.assert_allclose(checks.factors.v[4:8], expected.v, atol=1e-10)
    np.testing.assert_allclose(checks.factors.t[4:8], expected.t, atol=1e-10)
    prediction = predict(copper_model, frame)
    assert checks.potential_energy[1] == pytest.approx(prediction.energy, abs=1e-9)
    kinetic = checks.kinetic_energy[1] * 4 / 3
    pressure = (2 * kinetic + np.trace(prediction.virial)) / (3 * frame.volume)
    assert checks.pressure[1] == pytest.approx(pressure, abs=1e-10)


def equilibrium(model: NepModel, ensemble: str, structure: Structure, **options: object) -> Checks:
    dynamics = copper_dynamics(model, structure, check_interval=5)
    stretch = {"barostat_time": 100.0, "bulk_modulus": 0.8, "thermostat_time": 50.0, **options}
    dynamics.run(Stretch(ensemble, (300.0, 300.0), 2000, **stretch))
    checks = dynamics.run(Stretch(ensemble, (300.0, 300.0), 40_000, **stretch))
    assert dynamics.failure is None
    return checks


def test_langevin_kinetic_energy_has_its_distribution(copper_model: NepModel) -> None:
    checks = equilibrium(copper_model, "nvt", copper_cell(1), time_step=1.0)
    kT = BOLTZMANN_EV_PER_K * 300.0
    assert checks.kinetic_energy.mean() == pytest.approx(4.5 * kT, rel=0.03)
    assert checks.kinetic_energy.var() == pytest.approx(4.5 * kT**2, rel=0.1)
    assert checks.temperature.mean() == pytest.approx(300.0, rel=0.03)


def test_volume_and_pressure_fluctuate_as_in_the_isobaric_ensemble(
    copper_model: NepModel,
) -> None:
    # Integrating d/dV and d/dV (V ..) of V^n exp(-(U + P V) / kT): <P> = P0, cov(P, V) = -kT.
    pressed = equilibrium(copper_model, "npt", copper_cell(1), pressure=(0.06, 0.06))
    free = equilibrium(copper_model, "npt", copper_cell(1))
    for checks, target in ((free, 0.0), (pressed, 0.06)):
        kT = BOLTZMANN_EV_PER_K * 300.0
        assert checks.pressure.mean() == pytest.approx(target, abs=0.003)
        assert np.cov(checks.pressure, checks.volume)[0, 1] == pytest.approx(-kT, rel=0.2)
    assert pressed.volume.mean() < 0.97 * free.volume.mean()


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "npt"])
def test_one_atom_cell_runs_without_nan(copper_model: NepModel, ensemble: str) -> None:
    cell = np.array([[0.0, 1.8, 1.8], [1.8, 0.0, 1.8], [1.8, 1.8, 0.0]])
    one = Structure(np.array([29]), np.zeros((1, 3)), cell)
    dynamics = copper_dynamics(copper_model, one)
    checks = dynamics.run(Stretch(ensemble, (300.0, 300.0), 300))
    assert dynamics.failure is None
    assert np.isfinite(checks.potential_energy).all()
    assert (checks.temperature == 0.0).all()
    assert (np.ptp(checks.volume) > 0.0) == (ensemble == "npt")


def test_atoms_are_followed_across_the_cell(copper_model: NepModel) -> None:
    structure = copper_cell(1)
    dynamics = copper_dynamics(
        copper_model, structure, velocities=np.full((4, 3), 0.02), check_interval=50
    )
    checks = dynamics.run(nve(500))
    assert checks.potential_energy == pytest.approx(checks.potential_energy[0], abs=1e-6)
    fractions = dynamics.structure.positions @ np.linalg.inv(structure.cell)
    assert np.abs(fractions).max() < 1.5


def test_hot_run_is_stopped_with_its_reason(copper_model: NepModel) -> None:
    gate = PhysicsGate(temperature_factor=1.0, temperature_margin=0.0)
    velocities = np.random.default_rng(0).normal(size=(4, 3)) * 0.1
    dynamics = copper_dynamics(copper_model, copper_cell(1), gate=gate, velocities=velocities)
    checks = dynamics.run(nve(100))
    assert len(checks) == 0
    assert "K, allowed up to 1500 K" in dynamics.failure
    assert not dynamics.has_exploded
    assert dynamics.finished_steps == 0


def test_close_atoms_stop_the_run(copper_model: NepModel) -> None:
    gate = PhysicsGate(min_distances={(29, 29): 2.4}, temperature_margin=1e6)
    dynamics = copper_dynamics(copper_model, copper_cell(1), gate=gate, temperature=900.0)
    dynamics.run(Stretch("nvt", (900.0, 900.0), 500))
    assert dynamics.failure.startswith("Cu-Cu 2.3")
    finished = dynamics.finished_steps
    assert finished < 500
    assert gate.violation(dynamics.structure) == dynamics.failure
    assert len(dynamics.run(nve(10))) == 0
    assert dynamics.finished_steps == finished


def test_volume_outside_the_range_stops_the_run(copper_model: NepModel) -> None:
    gate = PhysicsGate(volume_ratio=(0.97, 1.3), temperature_margin=1e6)
    dynamics = copper_dynamics(copper_model, copper_cell(1), gate=gate)
    dynamics.run(Stretch("npt", (300.0, 300.0), 5000, pressure=(0.2, 0.2)))
    assert dynamics.failure.startswith("volume 0.9")


def test_explosion_ends_the_run_and_is_called_so(copper_model: NepModel) -> None:
    gate = PhysicsGate(temperature_margin=1e300, volume_ratio=(0.1, 10.0))
    velocities = np.random.default_rng(0).normal(size=(4, 3)) * 100.0
    dynamics = copper_dynamics(copper_model, copper_cell(1), gate=gate, velocities=velocities)
    dynamics.run(nve(10))
    assert dynamics.has_exploded
    assert "finite" in dynamics.failure


def test_other_threads_run_meanwhile(copper_model: NepModel) -> None:
    dynamics = copper_dynamics(copper_model, copper_cell(2))
    dynamics.run(nve(1))
    thread = threading.Thread(target=dynamics.run, args=(nve(1000),))
    thread.start()
    n_turns = 0
    while thread.is_alive():
        n_turns += 1
        thread.join(0.001)
    assert n_turns > 20


def alloy_model() -> NepModel:
    architecture = NepArchitecture(
        ("Au", "Cu"), (5.0, 4.5), (4.0, 3.5), 2, 2, 4, 4, 3, False, False, 5, Zbl(1.0, 2.0)
    )
    rng = np.random.default_rng(0)
    parameters = 0.3 * rng.normal(size=architecture.n_parameters)
    return model_from_parameters(architecture, parameters, np.full(architecture.n_descriptors, 0.2))


def test_two_elements_move_with_their_own_masses_and_distances() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.symbols[::3] = "Au"
    atoms.rattle(0.1, seed=1)
    structure = structure_from_atoms(atoms)
    gate = PhysicsGate({(79, 79): 1.0, (29, 79): 1.9}, temperature_margin=1e6)
    dynamics = Dynamics(
        alloy_model(), structure, masses=atoms.get_masses(), temperature=2000.0, seed=0, gate=gate
    )
    checks = dynamics.run(Stretch("nvt", (2000.0, 2000.0), 3000))
    frame = dynamics.frame(checks, len(checks) - 1)
    prediction = predict(alloy_model(), frame)
    assert checks.potential_energy[-1] == pytest.approx(prediction.energy, abs=1e-8)
    expected = projection_factors(alloy_model(), frame)
    np.testing.assert_allclose(checks.factors.t[-16:], expected.t, atol=1e-9)
    assert (checks.factors.types[-16:] == expected.types).all()
    assert dynamics.failure.startswith("Cu-Au 1.8")
    assert gate.violation(dynamics.structure) == dynamics.failure


def test_open_structure_cannot_change_its_volume(copper_model: NepModel) -> None:
    cluster = Structure(np.full(2, 29), np.eye(3)[:2] * 2.5, 20 * np.eye(3), (False,) * 3)
    dynamics = copper_dynamics(copper_model, cluster)
    dynamics.run(nve(20))
    assert dynamics.failure is None
    with pytest.raises(InputError, match="npt"):
        dynamics.run(Stretch("npt", (300.0, 300.0), 10))


@pytest.mark.parametrize(
    "changes",
    [
        {"ensemble": "nph"},
        {"n_steps": 0},
        {"temperature": (-1.0, 300.0)},
        {"time_step": 0.0},
        {"bulk_modulus": np.inf},
    ],
)
def test_stretches_that_make_no_sense_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Stretch(**{"ensemble": "nvt", "temperature": (300.0, 300.0), "n_steps": 10, **changes})
