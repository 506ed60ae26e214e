"""Molecular dynamics: the compiled loop beside ASE's integrators, at equal steps.

Run `python benchmarks/dynamics.py`. One thread, one copper model (tests/data/copper), Langevin at
900 K, 2 fs. Columns: microseconds of CPU time per atom and step, without grading and with grading
every tenth step; factors are ASE's time over ours without grading.
"""

import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import ase
import calorine
import numpy as np
from ase import units
from ase.build import bulk, make_supercell
from ase.calculators.calculator import Calculator
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from calorine.calculators import CPUNEP

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.io.nep_txt import read_nep_txt, write_nep_txt
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms

MODEL = Path(__file__).parents[1] / "tests" / "data" / "copper" / "nep.txt"
TEMPERATURE_K = 900.0
SIZES = (2, 8, 32, 108, 500)


class Nep(Calculator):
    """Our prediction as an ASE calculator."""

    implemented_properties = ("energy", "forces")

    def __init__(self, model: NepModel) -> None:
        super().__init__()
        self.model = model

    def calculate(self, atoms=None, properties=(), system_changes=()) -> None:  # type: ignore[no-untyped-def]
        super().calculate(atoms, properties, system_changes)
        prediction = predict(self.model, structure_from_atoms(atoms))
        self.results = {"energy": prediction.energy, "forces": prediction.forces}


def copper(n_atoms: int) -> Structure:
    """Return a rattled fcc cell."""
    repeats = {2: (1, 1, 2), 8: (2, 2, 2)}.get(n_atoms)
    if repeats is not None:
        atoms = bulk("Cu") * repeats
    else:
        n = round((n_atoms / 4) ** (1 / 3))
        atoms = make_supercell(bulk("Cu", cubic=True), n * np.eye(3))
    atoms.rattle(0.05, seed=n_atoms)
    return structure_from_atoms(atoms)


def shortest(run: Callable[[], None], repeats: int = 3) -> float:
    """Return the shortest of several CPU times (all threads), s."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def ase_time(structure: Structure, calculator: Calculator, n_steps: int) -> float:
    """Return microseconds per atom and step of ASE's Langevin integrator."""
    atoms = atoms_from_structure(structure)
    atoms.calc = calculator
    rng = np.random.RandomState(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE_K, rng=rng)
    dynamics = Langevin(
        atoms, 2 * units.fs, temperature_K=TEMPERATURE_K, friction=0.01 / units.fs, rng=rng
    )
    dynamics.run(1)
    return shortest(lambda: dynamics.run(n_steps)) / n_steps / len(atoms) * 1e6


def our_time(
    structure: Structure, model: NepModel, n_steps: int, active_set: ActiveSet | None
) -> float:
    """Return microseconds per atom and step of the compiled loop."""
    protocol = [MdSegment("nvt", TEMPERATURE_K, n_steps)]

    def run() -> None:
        result = run_native_md(
            structure, model, protocol, active_set=active_set, seed=1, candidate_ceiling=1e12
        )
        if result.outcome != "finished":
            raise RuntimeError(result.reason)

    run()
    return shortest(run) / n_steps / structure.n_atoms * 1e6


def main() -> None:
    """Print the table."""
    use_kernel_cache()
    warnings.filterwarnings("ignore", module="ase")
    model = read_nep_txt(MODEL)
    frames = [copper(32) for _ in range(20)]
    rng = np.random.default_rng(0)
    rattled = [
        Structure(f.numbers, f.positions + rng.normal(0, 0.15, f.positions.shape), f.cell)
        for f in frames
    ]
    factors = [projection_factors(model, frame) for frame in rattled]
    active_set = build_active_set(factors, model.elements)
    print(
        f"{platform.machine()}, ase {ase.__version__}, calorine {calorine.__version__}; "
        f"D={model.architecture.n_descriptors}, d={model.architecture.n_projection}"
    )
    print("atoms    ours  graded | ASE+ours  factor | ASE+CPUNEP  factor")
    with tempfile.TemporaryDirectory() as directory:
        path = write_nep_txt(model, Path(directory) / "nep.txt")
        for n_atoms in SIZES:
            structure = copper(n_atoms)
            n_steps = max(100, 20_000 // n_atoms)
            plain = our_time(structure, model, n_steps, None)
            graded = our_time(structure, model, n_steps, active_set)
            slow = max(20, n_steps // 10)
            with_ours = ase_time(structure, Nep(model), slow)
            with_calorine = ase_time(structure, CPUNEP(str(path)), slow)
            print(
                f"{n_atoms:5d} {plain:7.1f} {graded:7.1f} | {with_ours:8.1f} "
                f"{with_ours / plain:7.1f} | {with_calorine:10.1f} {with_calorine / plain:7.1f}"
            )


if __name__ == "__main__":
    main()
