"""Teachers, what the first model knows, and large parents with what it does not know."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.neighborlist import neighbor_list

from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import (
    atoms_from_structure,
    labelled_from_atoms,
    structure_from_atoms,
)

KINDS = ("void", "boundary", "surface", "liquid")
Teacher = Callable[[Structure], LabelledStructure]


@dataclass(frozen=True)
class System:
    """One material with its teacher.

    Attributes
    ----------
    name
        Of the folder.
    symbols
        Elements, mixed at random on the lattice.
    lattice, edge
        ASE's name and the lattice constant, Å.
    nep
        Hyper-parameters of the models.
    temperatures
        Of crystals with defects, and of the melt's interface, K.
    nearest
        Least distance when parents are put together, Å.
    teacher_model
        nep.txt that labels; None for EMT.
    """

    name: str
    symbols: tuple[str, ...]
    lattice: str
    edge: float
    nep: NepInput
    temperatures: tuple[float, float]
    nearest: float
    teacher_model: Path | None = None

    def teacher(self) -> Teacher:
        """Return the function that labels."""
        if self.teacher_model is None:
            return _by_emt
        model = read_nep_txt(self.teacher_model)

        def by_model(structure: Structure) -> LabelledStructure:
            found = predict(model, structure)
            return LabelledStructure(structure, found.energy, found.forces, found.virial)

        return by_model

    def crystal(self, repeats: tuple[int, int, int], rng: np.random.Generator) -> Atoms:
        """Return the conventional cell repeated, with the elements mixed."""
        atoms = bulk(self.symbols[0], self.lattice, a=self.edge, cubic=True) * repeats
        return mixed(atoms, self.symbols, rng)


def _nep(symbols: tuple[str, ...], cutoff: tuple[float, float]) -> NepInput:
    return NepInput(
        type=symbols, cutoff=cutoff, n_max=(4, 4), basis_size=(8, 8), l_max=(4, 2, 0), neuron=30
    )


def systems(silicon_model: Path | None) -> dict[str, System]:
    """Return the systems by name; silicon where a nep.txt trained on DFT is given."""
    found = {
        "copper": System(
            "copper", ("Cu",), "fcc", 3.62, _nep(("Cu",), (6.0, 5.0)), (500.0, 1250.0), 1.9
        ),
        "copper-gold": System(
            "copper-gold", ("Cu", "Au"), "fcc", 3.84, _nep(("Cu", "Au"), (6.0, 5.0)),
            (500.0, 1250.0), 2.0,
        ),
    }  # fmt: skip
    if silicon_model is not None:
        found["silicon"] = System(
            "silicon", ("Si",), "diamond", 5.44, _nep(("Si",), (5.0, 4.5)), (600.0, 1700.0), 1.9,
            silicon_model,
        )  # fmt: skip
    return found


def mixed(atoms: Atoms, symbols: tuple[str, ...], rng: np.random.Generator) -> Atoms:
    """Return the atoms with elements drawn at random."""
    atoms.set_chemical_symbols([str(s) for s in rng.choice(symbols, len(atoms))])
    return atoms


def base_set(system: System, teacher: Teacher, seed: int) -> list[LabelledStructure]:
    """Return what the first model knows: 80 small crystals, rattled and strained."""
    rng = np.random.default_rng([seed, 1])
    frames = []
    repeats = (2, 2, 2) if system.lattice == "fcc" else (2, 2, 1)
    for _ in range(80):
        atoms = system.crystal(repeats, rng)
        strain = rng.uniform(-0.03, 0.03) * np.eye(3) + 0.01 * rng.normal(size=(3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += rng.normal(0.0, rng.uniform(0.04, 0.12), atoms.positions.shape)
        frames.append(teacher(structure_from_atoms(atoms)))
    return frames


def hot_set(system: System, teacher: Teacher) -> list[LabelledStructure]:
    """Return hot crystals and disordered cells, for the model that samples parents."""
    rng = np.random.default_rng(2)
    frames = []
    repeats = (2, 2, 2) if system.lattice == "fcc" else (2, 2, 1)
    for k in range(120):
        atoms = system.crystal(repeats, rng)
        scale = rng.uniform(0.97, 1.06)
        atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
        amplitude = rng.uniform(0.05, 0.25) if k % 3 else rng.uniform(0.25, 0.5)
        atoms.positions += rng.normal(0.0, amplitude, atoms.positions.shape)
        if k % 4 == 0:
            del atoms[rng.permutation(len(atoms))[:4]]
        frames.append(teacher(structure_from_atoms(_apart(atoms, 0.8 * system.nearest))))
    return frames


def parent(system: System, kind: str, sampler: NepModel, seed: int) -> Structure:
    """Return one large cell with a kind of defect, after a short run at its temperature."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    cold, hot = system.temperatures
    if kind == "liquid":
        atoms = _liquid(system, sampler, rng)
    else:
        atoms = {"void": _void, "boundary": _boundary, "surface": _surface}[kind](system, rng)
    atoms.rattle(0.05, rng=rng)
    return _after_md(atoms, sampler, [(hot if kind == "liquid" else cold, 60)], int(seed))


def medium_cells(system: System, sampler: NepModel, n: int, seed: int) -> list[Structure]:
    """Return bulk cells of some 256 atoms at rising temperatures: what large cells replace."""
    rng = np.random.default_rng([seed, 9])
    repeats = (4, 4, 4) if system.lattice == "fcc" else (3, 3, 3)
    found = []
    for k in range(n):
        atoms = system.crystal(repeats, rng)
        temperature = system.temperatures[0] * (1.0 + 1.6 * k / max(n - 1, 1))
        atoms.rattle(0.05, rng=rng)
        found.append(_after_md(atoms, sampler, [(temperature, 150)], seed + k))
    return found


def _n(system: System, n: int) -> int:
    return n if system.lattice == "fcc" else max(3, round(n * (4 / 8) ** (1 / 3)))


def _void(system: System, rng: np.random.Generator) -> Atoms:
    n = _n(system, 11)
    atoms = system.crystal((n, n, n), rng)
    for _ in range(2):
        middle = int(rng.integers(len(atoms)))
        distances = atoms.get_distances(middle, range(len(atoms)), mic=True)
        del atoms[np.flatnonzero(distances < rng.uniform(3.0, 6.0))]
    return atoms


def _boundary(system: System, rng: np.random.Generator) -> Atoms:
    """Two grains turned against each other about [001], with a random rigid shift."""
    unit = system.crystal((1, 1, 1), rng)
    long = system.edge * np.sqrt(10.0)
    turn = np.array([[3, 1, 0], [-1, 3, 0], [0, 0, np.sqrt(10.0)]]) / np.sqrt(10.0)
    block = unit * (8, 8, 1)
    positions = (block.positions - 2.0 * system.edge) @ turn.T
    inside = ((positions[:, :2] > -1e-6) & (positions[:, :2] < long - 1e-6)).all(axis=1)
    cell = Atoms(
        [system.symbols[0]] * int(inside.sum()),
        positions[inside] + [0, 0, 2 * system.edge],
        cell=np.diag([long, long, system.edge]),
        pbc=True,
    )
    cell.wrap()
    n = (3, 3, 8) if system.lattice == "fcc" else (3, 2, 6)
    grain = cell * n
    width = n[0] * long
    other = grain.copy()
    other.positions[:, 0] = width - other.positions[:, 0]
    other.positions += [width + 0.3, *rng.uniform(0.0, system.edge, 2)]
    atoms = grain + other
    atoms.set_cell(np.diag([2.0 * width + 0.6, n[1] * long, n[2] * system.edge]))
    atoms.wrap()
    return mixed(_apart(atoms, system.nearest), system.symbols, rng)


def _surface(system: System, rng: np.random.Generator) -> Atoms:
    n, m = _n(system, 12), _n(system, 10)
    atoms = system.crystal((n, n, m), rng)
    top = atoms.positions[:, 2].max() - 0.6 * system.edge
    step = (atoms.positions[:, 2] > top) & (atoms.positions[:, 0] > 0.5 * atoms.cell[0, 0])
    del atoms[np.flatnonzero(step)]
    atoms.cell[2, 2] += 15.0
    return atoms


def _liquid(system: System, sampler: NepModel, rng: np.random.Generator) -> Atoms:
    n, m = _n(system, 9), _n(system, 9)
    hot = system.temperatures[1]
    melt = system.crystal((n, n, m), rng)
    melt.set_cell(melt.cell.array * 1.03, scale_atoms=True)
    melt.rattle(0.15, rng=rng)
    structure = _after_md(melt, sampler, [(2.8 * hot, 120), (1.5 * hot, 80)], 1)
    melt = atoms_from_structure(structure)
    melt.wrap()
    solid = system.crystal((n, n, m), rng)
    solid.set_cell([*melt.cell.lengths()[:2], solid.cell[2, 2] * 1.01], scale_atoms=True)
    melt.positions[:, 2] += solid.cell[2, 2] + 0.8
    both = solid + melt
    height = solid.cell[2, 2] + melt.cell[2, 2] + 1.6
    both.set_cell([*melt.cell.lengths()[:2], height])
    return _apart(both, system.nearest)


def _apart(atoms: Atoms, nearest: float) -> Atoms:
    """Return the atoms without those that are too close to another."""
    atoms.pbc = True
    first, second = neighbor_list("ij", atoms, nearest)
    del atoms[np.unique(np.maximum(first, second))]
    return atoms


def _after_md(
    atoms: Atoms, sampler: NepModel, stages: list[tuple[float, int]], seed: int
) -> Structure:
    numbers = sorted({int(n) for n in atoms.numbers})
    gate = PhysicsGate(
        {(a, b): 1.0 for a in numbers for b in numbers if a <= b}, temperature_factor=20.0
    )
    run = run_native_md(
        structure_from_atoms(atoms),
        sampler,
        [MdSegment("nvt", temperature, n_steps) for temperature, n_steps in stages],
        seed=seed,
        time_step_fs=2.0,
        gate=gate,
    )
    if run.outcome != "finished":
        raise RuntimeError(f"the run of a parent ended: {run.reason}")
    return run.final


def _by_emt(structure: Structure) -> LabelledStructure:
    atoms = atoms_from_structure(structure)
    atoms.calc = EMT()
    atoms.get_potential_energy()
    atoms.get_stress()
    return labelled_from_atoms(atoms)


__all__ = ["KINDS", "System", "Teacher", "base_set", "hot_set", "medium_cells", "parent", "systems"]
