"""Energies, forces, virials and B-projections against calorine's CPUNEP, one thread, in one run.

Run ``python benchmarks/prediction.py``. Times are the best of several interleaved repeats, CPU time
of the one thread, in microseconds per atom. ``calorine`` is the faster of its ASE calculator and
the extension below it; ``ours`` includes building the neighbour list; ``list kept`` is a step of
molecular dynamics with a list that has a skin of 1 Å. B is the B-projection in factorised form.
Deviations are the largest of energies, forces and virial, relative to the largest value.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.build import bulk
from calorine.calculators import CPUNEP

from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.potential import predict, prepared_input
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.io.nep_txt import read_nep_txt, write_nep_txt

SKIN = 1.0  # Å
MODELS = {
    "Cu, cutoffs 6/5, n_max 4 4, basis 8 8, l_max 4 2 0, 30 neurons": NepArchitecture(
        ("Cu",), (6.0,), (5.0,), 4, 4, 8, 8, 4, True, False, 30
    ),
    "PbTe, cutoffs 8/4, n_max 6 6, basis 6 6, l_max 4 2 0, 30 neurons": NepArchitecture(
        ("Pb", "Te"), (8.0,), (4.0,), 6, 6, 6, 6, 4, True, False, 30
    ),
}


def random_model(architecture: NepArchitecture, path: Path) -> NepModel:
    """Return a model with random numbers, as read back from the file it was written to."""
    rng = np.random.default_rng(0)
    a = architecture
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    model = NepModel(
        a,
        rng.normal(size=(T, N, D)) / np.sqrt(D),
        rng.normal(size=(T, N)),
        0.3 * rng.normal(size=(T, N)),
        1.0,
        rng.normal(size=(a.n_max_radial + 1, a.basis_size_radial + 1, T, T)),
        rng.normal(size=(a.n_max_angular + 1, a.basis_size_angular + 1, T, T)),
        rng.uniform(0.1, 1.0, size=D),
        (400, 200),
    )
    write_nep_txt(model, path)
    return read_nep_txt(path)


def crystals(elements: tuple[str, ...]) -> list[ase.Atoms]:
    """Return rattled crystals of 8, 32, 108 (or 96) and 1000 atoms."""
    if elements == ("Cu",):
        cell, repeats = bulk("Cu", cubic=True), [(2, 1, 1), (2, 2, 2), (3, 3, 3), (5, 5, 10)]
    else:
        cell = bulk("PbTe", "rocksalt", a=6.46, cubic=True)
        repeats = [(1, 1, 1), (2, 2, 1), (3, 2, 2), (5, 5, 5)]
    atoms = [cell * repeat for repeat in repeats]
    for crystal in atoms:
        crystal.rattle(0.08, seed=1)
    return atoms


def fastest(functions: dict[str, Callable[[], Any]], *, seconds: float) -> dict[str, float]:
    """Return the shortest time of every function, run three times in its turn for so long."""
    best = dict.fromkeys(functions, np.inf)
    for function in functions.values():
        function()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, function in functions.items():
            for _ in range(3):
                begin = time.thread_time()
                function()
                best[name] = min(best[name], time.thread_time() - begin)
    return best


def compare(atoms: ase.Atoms, model: NepModel, path: Path, *, seconds: float) -> dict[str, float]:
    """Return times per atom (microseconds) and the largest relative deviation."""
    structure = Structure(atoms.numbers, atoms.positions, atoms.cell.array)
    cutoff = model.architecture.largest_cutoff
    _, kept = prepared_input(model, structure, neighbour_list(structure, cutoff + SKIN))
    peer = atoms.copy()
    peer.calc = CPUNEP(str(path))
    forces = peer.get_forces()
    energies = peer.get_potential_energies()
    virial = -peer.get_stress(voigt=False) * peer.get_volume()

    def calculator() -> None:
        peer.positions[0, 0] += 1e-9  # so that nothing is taken from the cache
        peer.get_forces()

    ours = predict(model, structure)
    pairs = [
        (ours.atomic_energies, energies),
        (ours.forces, forces),
        (ours.virial, virial),
    ]
    times = fastest(
        {
            "calculator": calculator,
            "extension": peer.calc.nepy.get_potential_forces_and_virials,
            "ours": lambda: predict(model, structure),
            "kept": lambda: predict(model, structure, neighbours=kept),
            "b": lambda: projection_factors(model, structure),
            "b_kept": lambda: projection_factors(model, structure, neighbours=kept),
        },
        seconds=seconds,
    )
    result = {name: value / len(atoms) * 1e6 for name, value in times.items()}
    result["deviation"] = max(float(abs(a - b).max() / abs(b).max()) for a, b in pairs)
    return result


def main() -> None:
    """Print one table per model."""
    use_kernel_cache()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time per line of the table")
    seconds = parser.parse_args().seconds
    names = ("calorine", "numba", "numpy", "ase")
    print("nepal_flows", version("nepal-flows"), *(f"{name} {version(name)}" for name in names))
    header = (
        "  atoms  calorine  ours  ours, list kept  ratio  ratio, kept  "
        "B  B / (E+F+V)  B, kept  B / (E+F+V), kept  deviation"
    )
    with tempfile.TemporaryDirectory() as folder:
        for title, architecture in MODELS.items():
            path = Path(folder) / "nep.txt"
            model = random_model(architecture, path)
            print(f"\n{title}; us/atom, one thread\n{header}")
            for atoms in crystals(architecture.elements):
                r = compare(atoms, model, path, seconds=seconds)
                theirs = min(r["calculator"], r["extension"])
                print(
                    f"{len(atoms):7d}{theirs:10.1f}{r['ours']:6.1f}{r['kept']:17.1f}"
                    f"{theirs / r['ours']:7.1f}{theirs / r['kept']:13.1f}"
                    f"{r['b']:7.1f}{r['b'] / r['ours']:9.2f}{r['b_kept']:13.1f}"
                    f"{r['b_kept'] / r['kept']:14.2f}{r['deviation']:18.1e}"
                )


if __name__ == "__main__":
    main()
