"""Molecular dynamics and grading of a thousand to a hundred thousand atoms, per atom.

Run ``python benchmarks/scale_dynamics.py``. Rattled copper, the model in tests/data/copper. CPU
time in microseconds per atom, the best of the repeats:

``list``
    a neighbour list from nothing.
``step``
    one step of molecular dynamics (Langevin, 900 K, 2 fs), with the lists made anew on the way.
``b``
    B-projections in factorised form, with the list.
``grade``
    grades of all atoms from the factors.
``graded step``
    a step of a whole run that grades every tenth step.

``peak`` is the largest resident memory of the whole process so far. Last, how much sooner two
threads are done than one, elapsed: with the forces of ten structures, the forces of one large one
(whose list is made by one thread), the grades of its atoms, and two graded runs side by side.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import resource
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict, predict_many
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.io.nep_txt import read_nep_txt

MODEL = Path(__file__).parents[1] / "tests" / "data" / "copper" / "nep.txt"
LATTICE_A = 3.62
REPEATS = {1_000: (5, 5, 10), 10_000: (10, 10, 25), 100_000: (25, 25, 40)}
"""Cubic cells along each direction, by number of atoms."""

_parser = argparse.ArgumentParser(description=__doc__)
_parser.add_argument("--steps", type=int, default=40, help="steps of every run")
_parser.add_argument("--repeats", type=int, default=3, help="repeats of every measurement")
OPTIONS = _parser.parse_args()


def copper(repeats: tuple[int, int, int], step: float, seed: int = 0) -> Structure:
    """Return a crystal whose coordinates were moved by normal numbers of this width, Å."""
    corners = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 1, 3)
    basis = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    positions = LATTICE_A * (corners + basis).reshape(-1, 3)
    positions += step * np.random.default_rng(seed).standard_normal(positions.shape)
    cell = LATTICE_A * np.diag(np.array(repeats, dtype=float))
    return Structure(np.full(len(positions), 29), positions, cell)


def fastest(
    function: Callable[[], object], clock: Callable[[], float] = time.process_time
) -> float:
    """Return the shortest time, s, of the CPU where no other clock is given."""
    times = []
    for _ in range(OPTIONS.repeats):
        begin = clock()
        function()
        times.append(clock() - begin)
    return min(times)


def speed_up(function: Callable[[int], object]) -> float:
    """Return how much sooner a function of the number of threads ends with two than with one."""
    one, two = (fastest(lambda n=n: function(n), time.perf_counter) for n in (1, 2))
    return one / two


def run(structure: Structure, model: NepModel, active_set: ActiveSet | None) -> None:
    """Run the dynamics to its end."""
    protocol = [MdSegment("nvt", 900.0, OPTIONS.steps)]
    result = run_native_md(
        structure, model, protocol, active_set=active_set, seed=1, candidate_ceiling=1e12
    )
    if result.outcome != "finished":
        raise RuntimeError(result.reason)


def main() -> None:
    """Print one line per size."""
    use_kernel_cache()
    model = read_nep_txt(MODEL)
    a = model.architecture
    cutoff = a.largest_cutoff
    training = [projection_factors(model, copper((3, 3, 3), 0.15, seed)) for seed in range(20)]
    active_set = build_active_set(training, model.elements)
    print("nepal_flows", version("nepal-flows"), "numba", version("numba"), "one thread")
    print(f"cutoffs {a.radial_cutoffs}/{a.angular_cutoffs} Å, d = {a.n_projection}; us/atom")
    print("    atoms    list    step       b   grade  graded step  peak, MB")
    run(copper((3, 3, 3), 0.05), model, active_set)
    for n_atoms, repeats in REPEATS.items():
        structure = copper(repeats, 0.05)
        factors = projection_factors(model, structure)
        times = [
            fastest(lambda: neighbour_list(structure, cutoff)),  # noqa: B023
            fastest(lambda: run(structure, model, None)) / OPTIONS.steps,  # noqa: B023
            fastest(lambda: projection_factors(model, structure)),  # noqa: B023
            fastest(lambda: structure_grades(active_set, factors)),  # noqa: B023
            fastest(lambda: run(structure, model, active_set)) / OPTIONS.steps,  # noqa: B023
        ]
        columns = " ".join(f"{1e6 * t / n_atoms:7.2f}" for t in times)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        print(f"{n_atoms:9d} {columns} {peak:15.0f}")
    structure = copper(REPEATS[10_000], 0.05)
    factors = projection_factors(model, structure)
    several = [copper(REPEATS[1_000], 0.05, seed) for seed in range(10)]
    ratios = {
        "structures": speed_up(lambda n: predict_many(model, several, n_threads=n)),
        "one structure": speed_up(lambda n: predict(model, structure, n_threads=n)),
        "grades": speed_up(lambda n: structure_grades(active_set, factors, n_threads=n)),
        "runs": speed_up(
            lambda n: map_in_threads(lambda s: run(s, model, active_set), several[:2], n)
        ),
    }
    print("two threads:", ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
