"""How `nepal predict`, `active-set` and `grade` show their results."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nepal_flows.cli.output import table
from nepal_flows.engines.active_set_step import ActiveSetFile
from nepal_flows.engines.error_bars_step import ErrorBarsFile
from nepal_flows.engines.grading_step import GradedFile
from nepal_flows.engines.prediction_step import PredictedFile

_N_NAMED = 5
_ELEMENT_FIELDS = (
    "element",
    "n_rows",
    "n_distinct_rows",
    "n_projection",
    "rank",
    "is_saturated",
    "log_determinant",
    "largest_training_grade",
    "out_of_span_scale",
    "converged",
)


def prediction_content(result: PredictedFile) -> dict[str, Any]:
    """Return the JSON document of a prediction."""
    errors = result.errors
    return {
        "out": result.path,
        "n_structures": len(result.energies),
        "n_atoms": result.n_atoms.astype(int),
        "energies_eV": result.energies,
        "largest_forces_eV_per_A": result.largest_forces,
        "errors": None
        if errors is None
        else {
            "n_structures": errors.n_structures,
            "energy_rmse_eV_per_atom": errors.energy_rmse,
            "force_rmse_eV_per_A": errors.force_rmse,
            "virial_rmse_eV_per_atom": errors.virial_rmse,
        },
        "left_out": [
            {"frame": frame, "reason": reason} for frame, reason in result.left_out.items()
        ],
    }


def prediction_lines(result: PredictedFile) -> list[str]:
    """Return a prediction as text."""
    n_frames, errors = len(result.energies), result.errors
    lines = [f"{n_frames} structures predicted, in {result.path}"]
    if errors is not None:
        virial = errors.virial_rmse
        which = "" if errors.n_structures == n_frames else f" ({errors.n_structures} frames)"
        lines.append(
            f"against the labels of the file{which}: energy {1e3 * errors.energy_rmse:.2f} "
            f"meV/atom (offset per element removed), force {1e3 * errors.force_rmse:.1f} meV/Å"
            + ("" if virial is None else f", virial {1e3 * virial:.1f} meV/atom")
        )
    if result.left_out:
        lines.append(f"{len(result.left_out)} of {n_frames} frames left out of the errors:")
        lines += _left_out_lines(result.left_out)
    return lines


def _left_out_lines(left_out: Mapping[int, str]) -> list[str]:
    by_reason: dict[str, list[int]] = {}
    for frame, reason in left_out.items():
        by_reason.setdefault(reason, []).append(frame)
    lines = []
    for reason, frames in list(by_reason.items())[:_N_NAMED]:
        named = ", ".join(str(frame) for frame in frames[:_N_NAMED])
        named += ", ..." if len(frames) > _N_NAMED else ""
        lines.append(f"  frame{'s' * (len(frames) > 1)} {named}: {reason}")
    if len(by_reason) > _N_NAMED:
        lines.append("  ... (all of them with --json)")
    return lines


def active_set_content(result: ActiveSetFile) -> dict[str, Any]:
    """Return the JSON document of an active set."""
    active_set = result.active_set
    return {
        "out": result.path,
        "variant": active_set.variant,
        "rcond": active_set.rcond,
        "model_sha256": active_set.model_sha256,
        "elements": _elements(result),
        "repeated": result.repeated,
    }


def active_set_lines(result: ActiveSetFile) -> list[str]:
    """Return an active set as text."""
    columns = {
        "element": "element",
        "rows": "n_rows",
        "distinct": "n_distinct_rows",
        "d": "n_projection",
        "rank": "rank",
        "saturated": "is_saturated",
        "ln|det|": "log_determinant",
        "largest training grade": "largest_training_grade",
    }
    rows = [[element[name] for name in columns.values()] for element in _elements(result)]
    active_set = result.active_set
    return [
        *table(list(columns), rows),
        f"{result.path} ({active_set.variant}, rcond {active_set.rcond:g})",
    ]


def _elements(result: ActiveSetFile) -> list[dict[str, Any]]:
    return [
        {name: getattr(member, name) for name in _ELEMENT_FIELDS}
        for member in result.active_set.members
    ]


def grading_content(result: GradedFile) -> dict[str, Any]:
    """Return the JSON document of a grading."""
    return {
        "out": result.path,
        "n_structures": len(result.grades),
        "max_gamma": result.grades,
        "max_gamma_by_element": result.by_element,
        "is_verified": result.is_verified,
    }


def grading_lines(result: GradedFile) -> list[str]:
    """Return a grading as text."""
    quantiles = np.quantile(result.grades, [0.5, 0.9, 1.0])
    by_element = ", ".join(f"{symbol} {value:.3g}" for symbol, value in result.by_element.items())
    return [
        f"{len(result.grades)} structures graded, in {result.path}",
        f"largest grade of a frame: median {quantiles[0]:.3g}, 90 % below {quantiles[1]:.3g}, "
        f"maximum {quantiles[2]:.3g}",
        f"largest by element: {by_element}",
    ]


def error_bars_content(result: ErrorBarsFile) -> dict[str, Any]:
    """Return the JSON document of error bars."""
    worth = result.calibration
    return {
        "out": result.path,
        "n_structures": len(result.bars),
        "n_parameters": len(result.posterior.root),
        "n_determined": result.posterior.n_determined,
        "energy_bar_eV_per_atom": [_number(bar.energy) for bar in result.bars],
        "force_rmse_bar_eV_per_A": [bar.force_rms for bar in result.bars],
        "max_force_bar_eV_per_A": [bar.largest_force for bar in result.bars],
        "max_ratio": [float(bar.ratios.max()) for bar in result.bars],
        "calibration": None
        if worth is None
        else {
            "n_atoms": worth.n_atoms,
            "factor": worth.factor,
            "within_one": worth.within_one,
            "within_two": worth.within_two,
            "is_sound": worth.is_sound,
        },
    }


def error_bars_lines(result: ErrorBarsFile) -> list[str]:
    """Return error bars as text."""
    expected = 1e3 * np.array([bar.force_rms for bar in result.bars])
    ratios = np.concatenate([bar.ratios for bar in result.bars])
    found = result.posterior
    lines = [
        f"{len(result.bars)} structures with error bars, in {result.path}",
        f"{found.n_determined:.0f} of {len(found.root)} parameters are determined by the "
        "training frames",
        f"expected force RMSE of a frame: median {np.median(expected):.3g} meV/Å, "
        f"largest {expected.max():.3g}",
        f"R < 2, as safe as the training frames: {100 * np.mean(ratios < 2.0):.1f} % of the atoms; "
        f"largest R {ratios.max():.3g}",
    ]
    worth = result.calibration
    if worth is not None:
        verdict = "sound" if worth.is_sound else "NOT sound, beyond 0.5 to 2"
        lines.append(
            f"on labelled frames error over bar is {worth.factor:.2f} ({verdict}); "
            f"{100 * worth.within_one:.0f} % within one bar, {100 * worth.within_two:.0f} % within "
            "two (68 and 95 expected)"
        )
    return lines


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


__all__ = [
    "active_set_content",
    "active_set_lines",
    "error_bars_content",
    "error_bars_lines",
    "grading_content",
    "grading_lines",
    "prediction_content",
    "prediction_lines",
]
