"""MaxVol against teneva and maxvolpy, and one matrix product, on the same matrices in one run.

Run ``python benchmarks/selection.py``; ``--peers PYTHON`` names an interpreter that has teneva and
maxvolpy, where this one has not. All swap until no entry of B inv(A) exceeds 1.001; ``log det`` is
that of the chosen rows, ``largest`` the largest entry found afterwards from the rows themselves.
``product`` is B times a square matrix. Times are the best of the repeats, in seconds: of the CPU on
one thread, so that other work on the machine matters little; elapsed with more of them. Threads of
the peers are those of their linear algebra library, ours and the product's go over blocks of rows.
"""

import os

LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
for _variable in LIBRARY_THREADS:
    os.environ[_variable] = "1"

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ase.build import bulk

from nepal_flows.core.design_rows import blocks, map_in_threads
from nepal_flows.core.maxvol import maxvol
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.projections import dense_projections, projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache

TOLERANCE = 1.001

_parser = argparse.ArgumentParser(description=__doc__)
_parser.add_argument("--peers", default=sys.executable, help="interpreter that has the peers")
_parser.add_argument("--repeats", type=int, default=2, help="repeats of every measurement")
_parser.add_argument("--threads", type=int, default=1, help="threads")
_parser.add_argument("--large", action="store_true", help="also the large matrices (minutes)")
OPTIONS = _parser.parse_args()
CLOCK = time.process_time if OPTIONS.threads == 1 else time.perf_counter

PEER_PROGRAM = """
import importlib.metadata, json, sys, time
import numpy as np
name, path, tolerance = sys.argv[1], sys.argv[2], float(sys.argv[3])
matrix = np.load(path)
warm_up = np.random.default_rng(0).standard_normal((40, 8))
if name == "teneva":
    import teneva
    solve = lambda a: teneva.maxvol(a, e=tolerance, k=1000000)[0]
else:
    from maxvolpy.maxvol import maxvol
    solve = lambda a: maxvol(a, tol=tolerance, max_iters=1000000)[0]
clock = time.process_time if sys.argv[4] == "1" else time.perf_counter
solve(warm_up)
begin = clock()
rows = solve(matrix)
seconds = clock() - begin
print(json.dumps({"seconds": seconds, "rows": [int(row) for row in rows],
                  "version": importlib.metadata.version(name)}))
"""


def random_model(elements: tuple[str, ...], n_max: int, n_neurons: int) -> NepModel:
    """Return a model with random numbers whose neurons are centred near the data."""
    rng = np.random.default_rng(0)
    a = NepArchitecture(elements, (6.0,), (5.0,), n_max, n_max, 8, 8, 4, False, False, n_neurons)
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    return NepModel(
        a,
        w0=rng.normal(size=(T, N, D)) / np.sqrt(D),
        b0=rng.normal(size=(T, N)),
        w1=0.3 * rng.normal(size=(T, N)),
        b1=0.0,
        c_radial=rng.normal(size=(n_max + 1, 9, T, T)),
        c_angular=rng.normal(size=(n_max + 1, 9, T, T)),
        q_scaler=np.full(D, 0.05),
    )


def projections(model: NepModel, n_rows: int) -> np.ndarray:
    """Return projections of the first element in rattled, strained crystals and hot ones."""
    rng = np.random.default_rng(1)
    if len(model.elements) == 1:
        cell = bulk("Cu", cubic=True) * (2, 2, 2)
    else:
        cell = bulk("PbTe", "rocksalt", a=6.46, cubic=True) * (2, 1, 2)
    rows: list[np.ndarray] = []
    while sum(map(len, rows)) < n_rows:
        strain = np.eye(3) + 0.03 * rng.standard_normal((3, 3))
        positions = cell.positions @ strain + rng.uniform(0.05, 0.4) * rng.standard_normal(
            cell.positions.shape
        )
        structure = Structure(cell.numbers, positions, cell.cell.array @ strain)
        factors = projection_factors(model, structure)
        rows.append(dense_projections(factors)[factors.types == 0])
    matrix = np.concatenate(rows)[:n_rows]
    return matrix / np.sqrt((matrix**2).mean(axis=0))


def problems() -> Iterator[tuple[str, np.ndarray]]:
    """Yield named matrices."""
    rng = np.random.default_rng(2)
    yield "Gaussian", rng.standard_normal((5000, 500))
    yield "Cu, d = 540", projections(random_model(("Cu",), 4, 20), 5000)
    yield "PbTe, d = 1110", projections(random_model(("Pb", "Te"), 6, 30), 8000)
    if OPTIONS.large:
        yield "Gaussian", rng.standard_normal((20000, 1000))
        yield "PbTe, d = 2220", projections(random_model(("Pb", "Te"), 6, 60), 10000)


def best(function: Callable[[], object]) -> float:
    """Return the shortest time of the function."""
    times = []
    for _ in range(OPTIONS.repeats):
        begin = CLOCK()
        function()
        times.append(CLOCK() - begin)
    return min(times)


def multiply(matrix: np.ndarray, square: np.ndarray) -> np.ndarray:
    """Return the product, made in threads."""
    product = np.empty_like(matrix)
    halves = blocks(0, len(matrix), -(-len(matrix) // OPTIONS.threads))
    map_in_threads(
        lambda part: np.matmul(matrix[part], square, out=product[part]), halves, OPTIONS.threads
    )
    return product


def peer(name: str, path: Path) -> dict[str, object] | None:
    """Return what a peer chose and how long it took, or None where it is not installed."""
    found: dict[str, object] | None = None
    threads = str(OPTIONS.threads)
    environment = {**os.environ, **dict.fromkeys(LIBRARY_THREADS, threads)}
    for _ in range(OPTIONS.repeats):
        command = [OPTIONS.peers, "-c", PEER_PROGRAM, name, str(path), str(TOLERANCE), threads]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            words = done.stderr.strip().splitlines()[-1] if done.stderr else "no message"
            print(f"    {name}: not measured ({words})")
            return None
        result = json.loads(done.stdout)
        if found is None or result["seconds"] < found["seconds"]:
            found = result
    return found


def quality(matrix: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
    """Return the logarithm of the volume and the largest coefficient, from the rows."""
    coefficients = np.linalg.solve(matrix[rows].T, matrix.T)
    return float(np.linalg.slogdet(matrix[rows])[1]), float(np.abs(coefficients).max())


def main() -> None:
    """Print one block per matrix and the geometric mean of the ratios."""
    use_kernel_cache()
    print("nepal_flows", version("nepal-flows"), "numpy", version("numpy"))
    print(f"{OPTIONS.threads} thread(s), best of {OPTIONS.repeats}")
    maxvol(np.random.default_rng(0).standard_normal((80, 8)))
    ratios: dict[str, list[float]] = {}
    for title, matrix in problems():
        n, r = matrix.shape
        square = np.random.default_rng(0).standard_normal((r, r))
        product = best(lambda: multiply(matrix, square))  # noqa: B023
        ours = best(lambda: maxvol(matrix, n_threads=OPTIONS.threads))  # noqa: B023
        found = maxvol(matrix)
        volume, largest = quality(matrix, found.rows)
        print(f"\n{title}: {n} x {r}; product {product:.3f} s")
        print(
            f"    ours: {ours:.3f} s ({ours / product:.1f} products), {found.n_swaps} swaps, "
            f"log det {volume:.2f}, largest {largest:.6f}, converged {found.converged}"
        )
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "matrix.npy"
            np.save(path, matrix)
            for name in ("teneva", "maxvolpy"):
                result = peer(name, path)
                if result is None:
                    continue
                volume, largest = quality(matrix, np.array(result["rows"]))
                ratio = float(result["seconds"]) / ours
                ratios.setdefault(name, []).append(ratio)
                print(
                    f"    {name} {result['version']}: {result['seconds']:.3f} s, ratio "
                    f"{ratio:.1f}, log det {volume:.2f}, largest {largest:.6f}"
                )
    for name, values in ratios.items():
        mean = float(np.exp(np.mean(np.log(values))))
        print(f"\n{name}: {mean:.1f} times slower in geometric mean, at least {min(values):.1f}")


if __name__ == "__main__":
    main()
