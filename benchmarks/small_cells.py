"""Small start against large start: labels, labelled atoms and cost to equal error.

Run ``python benchmarks/small_cells.py --out FOLDER``; the same command again goes on where it was.
Copper with EMT as the teacher: the same model, conditions and training, from 32 seeds of 4 to 8
atoms through stages of 6 to 8, 12 to 16 and 32 atoms (``small``), from 21 ideal one-atom cells
through stages of 2, 4, 8 and 16 (``published``), and in cells of 32 atoms throughout (``large``).
Every model of every round is tested on the same fresh trajectories of 54 and 108 atoms, which no
campaign has seen; the last one is the long fit. Then, for every seed, what it took to come below an
error that all reached: calls, atoms N, sums of N^2 and N^3 (what a cost with that law would be).
EMT knows no k-points: a label of another size is as good as any, which holds for a DFT code only
as far as its k-points are converged.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from nepal_flows.core.nep.training import model_errors
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.teacher_md import run_teacher_md
from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import CampaignDoc, IterationDoc, LabelSums, TrainingDoc

VARIANTS = ("large", "small", "published")
MEASURES = ("n_labels", "n_atoms", "n_atoms_squared", "n_atoms_cubed")

COMMON: dict[str, Any] = {
    "version": 1,
    "structures": ["Cu.vasp"],
    "model": {
        "cutoff_A": [5.0, 4.0],
        "n_max": [4, 4],
        "basis_size": [8, 8],
        "l_max": [4, 0, 0],
        "neuron": 8,
    },
    "training": {
        "adam_steps": 2000,
        "lbfgs_steps": 100,
        "warm_adam_steps": 600,
        "warm_lbfgs_steps": 60,
        "final_adam_steps": 4000,
        "final_lbfgs_steps": 200,
    },
    "labels": {"code": "ase", "calculator": "emt", "time_limit_s": 60},
    "convergence": {"clean_rounds": 9, "stall_rounds": 50},
    "resources": {"workers": 1},
}

PROTOCOLS: tuple[tuple[str, dict[str, Any], list[dict[str, Any]]], ...] = (
    ("crystal", {}, [{"temperature_K": [300, 1500], "steps": 2000}]),
    (
        "liquid",
        {"volume_factor": 1.1, "rattle_A": 0.2},
        [
            {"ensemble": "nvt", "temperature_K": 2200, "steps": 800},
            {"temperature_K": 1500, "steps": 1200},
        ],
    ),
)

SIZES: dict[str, dict[str, Any]] = {
    "large": {
        "seeds": {"n": 8, "n_atoms": 32},
        "selection": {"labels_per_iteration": 6, "audit_per_iteration": 0},
        "budget": {"labels": 100, "iterations": 6},
    },
    "small": {
        "small_cells": {
            "stages": [
                {"n_atoms": [6, 8], "max_rounds": 5},
                {"n_atoms": [12, 16], "max_rounds": 2, "labels_per_iteration": 10},
                {"n_atoms": 32, "cells": "supercell", "labels_per_iteration": 5},
            ],
            "rank_gain": 0.0,
        },
        "selection": {"labels_per_iteration": 20, "audit_per_iteration": 0},
        "budget": {"labels": 300, "iterations": 9},
    },
    "published": {
        "small_cells": {
            "mode": "published",
            "stages": [
                {"n_atoms": 2, "max_rounds": 3},
                {"n_atoms": 4, "max_rounds": 3},
                {"n_atoms": 8, "max_rounds": 4},
                {"n_atoms": 16, "max_rounds": 2, "labels_per_iteration": 10},
            ],
        },
        "selection": {"labels_per_iteration": 20, "audit_per_iteration": 0},
        "budget": {"labels": 400, "iterations": 12},
    },
}


def campaign_file(folder: Path, variant: str, seed: int) -> Path:
    """Write the campaign of a variant and seed, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "Cu.vasp", bulk("Cu", cubic=True), direct=True)
    replicas = 2 if variant == "large" else 6
    conditions = []
    for name, start, stages in PROTOCOLS:
        kept = {key: value for key, value in start.items() if variant != "published"}
        size = {"n_atoms": 32, "strain": 0.02, "rattle_A": 0.1} if variant == "large" else {}
        conditions.append(
            {"name": name, "start": size | kept, "stages": stages, "replicas": replicas}
        )
    exploration = {"time_step_fs": 2.5, "conditions": conditions}
    if variant == "large":
        exploration["burn_in_steps"] = 200
    content = COMMON | SIZES[variant] | {"name": variant, "seed": seed, "exploration": exploration}
    path = folder / f"{variant}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def held_out(path: Path) -> dict[str, list[LabelledStructure]]:
    """Return the frames that all models are tested on, made once."""
    cases: dict[str, tuple[int, dict[str, Any]]] = {
        "crystal 300 K, 108": (3, {"temperature_K": 300.0}),
        "crystal 1300 K, 108": (3, {"temperature_K": 1300.0}),
        "liquid 1500 K, 54": (
            0,
            {"temperature_K": 1500.0, "melt_temperature_K": 3000.0, "melt_steps": 400},
        ),
    }
    frames = {}
    for number, (name, (n, options)) in enumerate(cases.items()):
        file = path / f"heldout-{number}.npz"
        if not file.exists():
            cell = bulk("Cu", cubic=True) * (n, n, n) if n else bulk("Cu") * (6, 3, 3)
            made = run_teacher_md(
                structure_from_atoms(cell),
                EMT(),
                n_frames=15,
                interval_steps=20,
                equilibration_steps=200,
                seed=1000 + number,
                time_step_fs=5.0,
                **options,
            )
            file.write_bytes(pack_frames(made))
        frames[name] = unpack_frames(file.read_bytes()).labelled
    return {name: list(made) for name, made in frames.items()}


def errors(
    records: Records, model: TrainingDoc, tests: dict[str, list[LabelledStructure]]
) -> dict[str, float]:
    """Return force RMSEs of a model, meV/Å, by test and over all."""
    nep = read_nep_txt(records.blobs.get(model.model).decode())
    references = model.reference_energies_eV
    every = [frame for frames in tests.values() for frame in frames]
    found = {
        name: 1000.0 * model_errors(nep, frames, references).total_force_rmse
        for name, frames in tests.items()
    }
    return found | {"all": 1000.0 * model_errors(nep, every, references).total_force_rmse}


def summed(sums: dict[str, LabelSums]) -> dict[str, int]:
    """Return what all stages add up to."""
    return {name: sum(getattr(part, name) for part in sums.values()) for name in MEASURES}


def curve(folder: Path, variant: str, tests: dict[str, list[LabelledStructure]]) -> dict[str, Any]:
    """Return errors against labels of a finished campaign, its costs and its bias."""
    records = Records(embedded_job_store(folder / variant / "store"))
    rounds = list(records.query(IterationDoc, sort={"iteration": 1}))
    points = []
    known = summed({"seeds": rounds[0].label_sums["seeds"]})
    for document in rounds:
        found = errors(records, records.load(TrainingDoc, document.model_key), tests)
        points.append({**known, "stage": document.size_stage, "errors": found})
        known = summed(document.label_sums)
    campaign = next(records.query(CampaignDoc))
    final = errors(records, records.load(TrainingDoc, campaign.final_model_key or ""), tests)
    bias = rounds[-1].force_bias
    seconds = {
        name: sum(document.costs[name].cpu_s for document in rounds)
        for name in ("train", "explore", "label", "select")
    }
    return {
        "rounds": len(rounds),
        "points": points,
        "final": {**known, "errors": final},
        "small_force_share": None if bias is None else bias.small_force_share,
        "label_sums": {k: v.model_dump() for k, v in rounds[-1].label_sums.items()},
        "cpu_s": seconds,
    }


def needed(result: dict[str, Any], target: float) -> dict[str, int] | None:
    """Return the sums at the first model of a campaign at or below an error, None if none is."""
    for point in [*result["points"], result["final"]]:
        if point["errors"]["all"] <= target:
            return {name: point[name] for name in MEASURES}
    return None


def main() -> None:
    """Run what is missing, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("small-cells"), help="where campaigns are")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--targets", type=float, nargs="+", default=[20.0, 10.0, 6.0, 5.0])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tests = held_out(options.out)
    results: dict[str, dict[int, Any]] = {variant: {} for variant in options.variants}
    for seed in options.seeds:
        for variant in options.variants:
            folder = options.out / f"seed-{seed}"
            file = folder / f"{variant}.json"
            if not file.exists():
                run_campaign(campaign_file(folder, variant, seed), directory=folder / variant)
                file.write_text(json.dumps(curve(folder, variant, tests), indent=1))
            results[variant][seed] = json.loads(file.read_text())
            final = results[variant][seed]["final"]
            told = ", ".join(f"{name} {value:.1f}" for name, value in final["errors"].items())
            counts = ", ".join(f"{name} {final[name]}" for name in MEASURES)
            print(f"{variant:10s} seed {seed}: {told} meV/Å; {counts}", flush=True)
    for target in options.targets:
        print(f"to {target:g} meV/Å over all, median over seeds:")
        for variant, by_seed in results.items():
            reached = [found for r in by_seed.values() if (found := needed(r, target))]
            if len(reached) < len(by_seed):
                print(f"  {variant:10s} reached by {len(reached)} of {len(by_seed)}")
                continue
            medians = {n: statistics.median(found[n] for found in reached) for n in MEASURES}
            spread = [found["n_atoms"] for found in reached]
            print(
                f"  {variant:10s} "
                + ", ".join(f"{name} {value:g}" for name, value in medians.items())
                + f" (atoms {min(spread)} to {max(spread)})"
            )
    shares = {
        variant: float(np.mean([r["small_force_share"] for r in by_seed.values()]))
        for variant, by_seed in results.items()
        if by_seed
    }
    print("share of training atoms below 0.01 eV/Å:", shares)


if __name__ == "__main__":
    main()
