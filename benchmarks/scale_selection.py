"""A million environments on a small machine: active set, grades, and the choice of frames.

Run ``python benchmarks/scale_selection.py``. The environments are real projections, of a network
with random numbers (or of ``--model nep.txt``), in strained copper crystals whose atoms move by
amounts from cold to molten; they are kept factorised. Then, each with its time and the peak of the
resident memory of the whole process so far:

``active set``
    streamed from all environments: every one is verified to be within the tolerance, in float64.
``training``
    the active set of a small part of the environments, the colder ones.
``select``
    all environments graded against that, and frames chosen greedily, re-graded after each.

Elapsed times mean little while other programs run; ``cpu`` is the time of all threads together.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import numpy as np

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.selection import select_frames
from nepal_flows.core.structure import Structure
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.io.nep_txt import read_nep_txt

_parser = argparse.ArgumentParser(description=__doc__)
_parser.add_argument("--environments", type=int, default=1_000_000, help="how many to make")
_parser.add_argument("--training", type=int, default=30_000, help="how many of them train")
_parser.add_argument("--budget", type=int, default=50, help="frames to choose")
_parser.add_argument("--threads", type=int, default=2, help="threads")
_parser.add_argument("--memory", type=float, default=150.0, help="working memory, MB")
_parser.add_argument("--neurons", type=int, default=27, help="neurons of the random network")
_parser.add_argument(
    "--stored", choices=("float32", "float64"), default="float32", help="precision of the factors"
)
_parser.add_argument("--model", help="a nep.txt of copper instead of the random network")
OPTIONS = _parser.parse_args()

LATTICE_A = 3.62
SMALLEST_STEP_A, LARGEST_STEP_A = 0.03, 0.35
"""Root mean square displacement of the coldest and the hottest frame."""


def random_model(n_neurons: int) -> NepModel:
    """Return a model of copper with random numbers whose neurons are centred near the data."""
    rng = np.random.default_rng(0)
    a = NepArchitecture(("Cu",), (6.0,), (5.0,), 6, 6, 8, 8, 4, False, False, n_neurons)
    n_descriptors = a.n_descriptors
    return NepModel(
        a,
        w0=rng.normal(size=(1, n_neurons, n_descriptors)) / np.sqrt(n_descriptors),
        b0=rng.normal(size=(1, n_neurons)),
        w1=0.3 * rng.normal(size=(1, n_neurons)),
        b1=0.0,
        c_radial=rng.normal(size=(7, 9, 1, 1)),
        c_angular=rng.normal(size=(7, 9, 1, 1)),
        q_scaler=np.full(n_descriptors, 0.05),
    )


def frames(model: NepModel, n_environments: int) -> list[ProjectionFactors]:
    """Return the factors of crystals of 108 atoms, from cold to molten."""
    corners = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    basis = np.array([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
    crystal = LATTICE_A * (corners + basis).reshape(-1, 3)
    cell = 3.0 * LATTICE_A * np.eye(3)
    n_frames = -(-n_environments // len(crystal))

    def factors(index: int) -> ProjectionFactors:
        rng = np.random.default_rng([7, index])
        strain = np.eye(3) + 0.02 * rng.standard_normal((3, 3))
        step = SMALLEST_STEP_A * (LARGEST_STEP_A / SMALLEST_STEP_A) ** (index / n_frames)
        positions = crystal @ strain
        positions += step / np.sqrt(3.0) * rng.standard_normal(positions.shape)
        found = projection_factors(
            model, Structure(np.full(len(crystal), 29), positions, cell @ strain)
        )
        y, v, t = (part.astype(OPTIONS.stored) for part in (found.y, found.v, found.t))
        return ProjectionFactors(found.types, y, v, t)

    return map_in_threads(factors, range(n_frames), OPTIONS.threads)


def peak_MB() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3 * 1.024


@contextmanager
def measured(name: str) -> Iterator[list[str]]:
    """Print the time of a part, and the words that it leaves."""
    words: list[str] = []
    begin, begin_cpu = time.perf_counter(), time.process_time()
    yield words
    elapsed, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
    print(f"{name:12s} {elapsed:8.1f} s, cpu {cpu:7.1f} s, peak {peak_MB():6.0f} MB", *words)


def outcome(active_set: ActiveSet) -> str:
    """Return what an active set of one element is, in words."""
    member = active_set.members[0]
    return (
        f"| {member.n_rows} rows of {member.n_projection}, rank {member.rank}, log det "
        f"{member.log_determinant:.2f}, largest grade {member.largest_training_grade:.6f}, "
        f"converged {member.converged}"
    )


def main() -> None:
    """Print one line per part."""
    use_kernel_cache()
    print("nepal_flows", version("nepal-flows"), "numpy", version("numpy"))
    print(f"{OPTIONS.threads} thread(s), working memory {OPTIONS.memory:g} MB")
    model = random_model(OPTIONS.neurons) if OPTIONS.model is None else read_nep_txt(OPTIONS.model)
    few = frames(model, 400)
    select_frames(build_active_set(few[:2], model.elements), few[:2], few[2:], budget=1)
    with measured("frames") as words:
        everything = frames(model, OPTIONS.environments)
        stored = sum(f.y.nbytes + f.v.nbytes + f.t.nbytes for f in everything)
        dense = everything[0].y.itemsize * sum(f.n_atoms * f.n_projection for f in everything)
        words.append(
            f"| {stored / 1e6:.0f} MB of factors in {OPTIONS.stored}, {dense / stored:.1f} times "
            "less than b"
        )
    shuffled = [everything[i] for i in np.random.default_rng(0).permutation(len(everything))]
    limits = {"memory_limit_MB": OPTIONS.memory, "n_threads": OPTIONS.threads}
    with measured("active set") as words:
        words.append(outcome(build_active_set(shuffled, model.elements, **limits)))
    n_cold = len(everything) // 2
    n_training = max(OPTIONS.training // everything[0].n_atoms, 2)
    training = everything[: n_cold : max(n_cold // n_training, 1)]
    with measured("training") as words:
        active_set = build_active_set(training, model.elements, **limits)
        words.append(outcome(active_set))
    with measured("select") as words:
        selection = select_frames(
            active_set, training, shuffled, budget=OPTIONS.budget, threshold=2.0, **limits
        )
        first = [selection.decisions[i].grade for i in selection.selected[:1]]
        words.append(
            f"| {len(selection.selected)} of {len(shuffled)} frames, first grade {first}, "
            f"refused {selection.refused}, largest left {selection.largest_remaining_grade:.2f}"
        )


if __name__ == "__main__":
    main()
