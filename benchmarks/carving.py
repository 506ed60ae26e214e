"""Time to carve and heal one fragment, and to locate and carve in dumps of 10^4 to 10^6 atoms.

    python benchmarks/carving.py [--largest 1000000]

The parent is a hot copper crystal with voids, tiled, so that its grades are known; dumps are read
frame by frame from a file, as `nepal carve` does.
"""

import argparse
import os
import resource
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from nepal_flows.engines.kernel_cache import use_kernel_cache

use_kernel_cache()

import dataclasses

import numpy as np
from ase.build import bulk

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.carving.carve import carve
from nepal_flows.core.carving.centres import grades_in_blocks
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.nep.training import TrainingSettings
from nepal_flows.core.structure import Structure
from nepal_flows.engines.carving_centres import CentreRules
from nepal_flows.engines.carving_frames import carve_frames
from nepal_flows.engines.native_training import run_native_training
from nepal_flows.io.extxyz_stream import stream_extxyz
from sets.emt import COPPER, copper

N_FRAGMENTS = 4


def crystal_with_voids(repeats: int, seed: int) -> Structure:
    """Return a hot crystal with two voids."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True, a=3.64) * ((repeats,) * 3)
    atoms.rattle(0.1, rng=rng)
    for place in (0.25, 0.75):
        middle = np.full(3, place * atoms.cell[0, 0])
        inside = np.linalg.norm(atoms.positions - middle, axis=1) < 5.0
        del atoms[np.flatnonzero(inside)]
    return Structure(atoms.numbers, atoms.positions, atoms.cell.array)


def tiled(parent: Structure, grades: np.ndarray, tiles: tuple[int, int, int]):
    """Return the parent repeated, and its grades."""
    shifts = np.array(list(np.ndindex(*tiles))) @ parent.cell
    positions = (shifts[:, None] + parent.positions[None]).reshape(-1, 3)
    cell = np.array(tiles)[:, None] * parent.cell
    n = len(shifts)
    return Structure(np.tile(parent.numbers, n), positions, cell), np.tile(grades, n)


def write_dump(path: Path, parent: Structure, grades: np.ndarray) -> None:
    """Write one frame as `gpumd` does."""
    lattice = " ".join(str(x) for x in parent.cell.ravel())
    with path.open("w") as stream:
        stream.write(
            f'{parent.n_atoms}\nmax_gamma={grades.max()} pbc="T T T" Lattice="{lattice}" '
            "Properties=species:S:1:pos:R:3:gamma:R:1\n"
        )
        table = np.column_stack([parent.positions, grades])
        np.savetxt(stream, table, fmt="Cu %.8f %.8f %.8f %.8g")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000, help="atoms of the largest dump")
    largest = parser.parse_args().largest
    short = dataclasses.replace(COPPER, cutoff=(4.2, 4.0))  # some 110 atoms a fragment
    train, _ = copper()
    crystals = [frame for k, frame in enumerate(train) if k // 8 % 4 != 3]
    with tempfile.TemporaryDirectory() as folder:
        run = run_native_training(
            short, crystals, out_directory=folder, settings=TrainingSettings(n_adam_steps=400)
        )
        model = run.result.model
        inverses = build_active_set(
            [projection_factors(model, frame.structure) for frame in crystals], model.elements
        ).inverses
        small = crystal_with_voids(14, 0)
        began = time.perf_counter()
        grades = grades_in_blocks(AtomBins(small), model, inverses)
        print(
            f"grading {small.n_atoms} atoms: {time.perf_counter() - began:.2f} s; "
            f"{(grades >= 5).sum()} above 5, largest {grades.max():.3g}"
        )
        one_fragment(small, grades, model, inverses)
        scaling(small, grades, model, inverses, largest, Path(folder))


def one_fragment(parent, grades, model, inverses) -> None:
    """Print the CPU time of one carving by method, the least of five."""
    bins, centre = AtomBins(parent, grades), int(grades.argmax())
    for method in ("naive", "searched", "healed"):
        options = CarvingOptions(method=method, max_enlargements=0)
        times = []
        for _ in range(5):
            began = time.process_time()
            found = carve(
                partial(bins.region, centre), model, inverses, options=options,
                rng=np.random.default_rng(0),
            )  # fmt: skip
            times.append(time.process_time() - began)
        print(
            f"{method:9s} {found.fragment.n_atoms:4d} atoms: {min(times):.2f} CPU-s, boundary "
            f"{found.fidelity.boundary_grade_mean:.3g} "
            f"(parent {found.fidelity.parent_boundary_grade_mean:.3g})"
        )


def scaling(small, grades, model, inverses, largest: int, folder: Path) -> None:
    """Print the time and memory of a dump by its size."""
    options = CarvingOptions(method="searched", max_enlargements=0)
    rules = CentreRules(budget=N_FRAGMENTS, per_frame=N_FRAGMENTS)
    print("atoms      file MB  read s  locate+carve s  us/atom  peak MB")
    for tiles in ((1, 1, 1), (3, 3, 1), (5, 5, 4)):
        parent, own = tiled(small, grades, tiles)
        if parent.n_atoms > 1.2 * largest:
            break
        path = folder / "dump.xyz"
        write_dump(path, parent, own)
        del parent, own
        began = time.perf_counter()
        frames = list(stream_extxyz(path))
        read = time.perf_counter() - began
        began = time.perf_counter()
        carve_frames(frames, model, inverses, rules=rules, options=options)
        taken = time.perf_counter() - began
        n = frames[0].structure.n_atoms
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{n:9d}  {path.stat().st_size / 1e6:7.1f}  {read:6.2f}  {taken:14.2f}  "
            f"{1e6 * (read + taken) / n:7.1f}  {peak:7.0f}"
        )
        del frames


if __name__ == "__main__":
    main()
