"""Figures of the comparison."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

ORDER = ("nothing", "bulk cells", "isolated", "naive", "searched", "healed", "healed, warm")


def write_figures(found: dict[str, Any], out: Path) -> Path:
    """Write errors on unseen parents by arm and seed, and what fragments kept; return the file."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    seeds = sorted({key.split("/")[1] for key in found["errors"]})
    for place, arm in enumerate(ORDER):
        values = [found["errors"][f"{arm}/{seed}"]["defects"] for seed in seeds]
        left.plot([place] * len(values), values, "o", color="#0072b2", alpha=0.7)
        left.plot(place, np.mean(values), "_", color="#d55e00", markersize=18, markeredgewidth=2)
    left.set_xticks(range(len(ORDER)), ORDER, rotation=35, ha="right")
    left.set_yscale("log")
    left.set_ylabel("force RMSE on unknown atoms of unseen parents, meV/Å")
    left.set_title(f"{found['system']}: equal labelled atoms, {len(seeds)} seeds")
    for arm, rows in found["fidelity"].items():
        x = [max(1e-2, row["log_excess"]) for row in rows]
        y = [1e3 * max(1e-5, row["shell"]) for row in rows]
        right.plot(x, y, "o", label=arm, alpha=0.7, markersize=4)
    right.set(xscale="log", yscale="log")
    right.set_xlabel("score: mean logarithmic excess of grades")
    right.set_ylabel("teacher's force, first shell, fragment - parent, meV/Å")
    right.legend(frameon=False, fontsize=8)
    path = out / f"{found['system']}.svg"
    figure.savefig(path, metadata={"Date": None})
    return path
