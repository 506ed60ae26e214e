"""Grades from factors against the bare matrix product, and what the factors save in storage.

Run ``python benchmarks/grading.py``. ``product`` multiplies projections that are already written
out with M, into memory that is already there, and takes no maximum; ``grades`` starts from the
factors. Times are the best of the repeats, CPU time of one thread.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import ProjectionFactors, dense_projections
from nepal_flows.engines.kernel_cache import use_kernel_cache

_parser = argparse.ArgumentParser(description=__doc__)
_parser.add_argument("--repeats", type=int, default=5, help="repeats of every measurement")
OPTIONS = _parser.parse_args()


def random_factors(n_atoms: int, n_descriptors: int, n_neurons: int) -> ProjectionFactors:
    """Return factors of a random network on smooth random descriptors."""
    rng = np.random.default_rng(0)
    weights = np.random.default_rng(1)
    mixing = weights.standard_normal((6, n_descriptors))
    w0 = weights.standard_normal((n_descriptors, n_neurons)) / np.sqrt(n_descriptors)
    w1 = 0.3 * weights.standard_normal(n_neurons)
    y = 1.0 + 0.5 * np.sin(rng.standard_normal((n_atoms, 6)) @ mixing)
    t = np.tanh(y @ w0 - w0.sum(axis=0))
    return ProjectionFactors(np.zeros(n_atoms, dtype=np.int64), y, w1 * (1.0 - t**2), t)


def best(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the shortest time of every function, run in turns."""
    times = dict.fromkeys(functions, np.inf)
    for _ in range(OPTIONS.repeats):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            times[name] = min(times[name], time.process_time() - begin)
    return times


def grade(n_atoms: int, n_descriptors: int, n_neurons: int) -> None:
    """Print one line for a number of atoms and a size of network."""
    factors = random_factors(n_atoms, n_descriptors, n_neurons)
    dense = dense_projections(factors)
    d = dense.shape[1]
    inverse = np.random.default_rng(2).standard_normal((d, d))
    product = np.empty((n_atoms, d))
    expected = np.abs(dense @ inverse).max(axis=1)
    found = structure_grades(inverse[None], factors)
    deviation = np.abs(found / expected - 1.0).max()
    times = best(
        {
            "product": lambda: np.matmul(dense, inverse, out=product),
            "grades": lambda: structure_grades(inverse[None], factors),
        }
    )
    stored = sum(part.nbytes for part in (factors.y, factors.v, factors.t))
    print(
        f"{n_atoms:7d} {d:5d} {1e6 * times['product'] / n_atoms:12.2f} "
        f"{1e6 * times['grades'] / n_atoms:12.2f} "
        f"{100.0 * times['product'] / times['grades']:10.0f} % "
        f"{dense.nbytes / stored:8.1f} {deviation:12.1e}"
    )


def main() -> None:
    """Print the table."""
    use_kernel_cache()
    print("nepal_flows", version("nepal-flows"), "numpy", version("numpy"), "one thread")
    print("  atoms     d  product us/atom  grades us/atom  of product  storage  deviation")
    for n_descriptors, n_neurons in ((25, 20), (30, 30), (42, 30), (35, 80)):
        for n_atoms in (32, 2000):
            grade(n_atoms, n_descriptors, n_neurons)


if __name__ == "__main__":
    main()
