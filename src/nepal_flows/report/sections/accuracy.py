"""Sections on how good the model is: the grade as an alarm, and errors against the teacher."""

import math
from collections.abc import Sequence

from nepal_flows.report import figures as draw
from nepal_flows.report.blocks import Block, Cell, Drawing, Section, Table, table
from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import newest_calibration, validation_limits, validation_rows
from nepal_flows.report.sections.shared import FORCE_UNIT
from nepal_flows.report.words import (
    NONE,
    count,
    figures,
    force_rmse,
    listed,
    short_hash,
    whole,
)
from nepal_flows.schemas import CalibrationBin, Errors


def calibration(data: ReportData) -> Section:
    """Return grade against true error."""
    name = data.score.name
    title = f"Is the {name} a good alarm?"
    figure, newest = draw.calibration(data), newest_calibration(data)
    if figure is None or newest is None:
        return Section("calibration", title, pending="labels the model has not seen")
    largest = figures(newest.largest_error_called_safe_meV_per_A)
    blocks: list[Block] = [
        Drawing(
            "calibration",
            figure,
            f"{data.score.title} against true force error of {count(newest.n_atoms, 'atom')} in "
            f"{count(len(newest.bins), 'bin')}; the largest error called safe is {largest} "
            f"{FORCE_UNIT}.",
            f"True force errors of atoms the model had not seen, gathered by their {name}. Left "
            "of the dotted line an atom is called safe. Right: the largest error called safe over "
            "the largest training error; near 1 or below, the alarm missed nothing that "
            "training had not already accepted.",
        ),
        table(
            "The same as numbers; errors in meV/Å."
            + (
                f" Rank correlation of {name} and error: {figures(newest.spearman, 2)} (high while "
                "something new is found, near 0 when nothing is left to find)."
                if newest.spearman is not None
                else ""
            ),
            (name, "atoms", "RMS error", "99 % are below", "largest error"),
            [
                [
                    _bin_name(part),
                    whole(part.n_atoms),
                    figures(part.force_rmse_meV_per_A),
                    figures(part.force_p99_meV_per_A),
                    figures(part.force_max_meV_per_A),
                ]
                for part in newest.bins
                if part.n_atoms
            ],
            text_columns=(name,),
            is_folded=True,
        ),
    ]
    return Section("calibration", title, blocks)


def _limit_cell(errors: Errors, limit: float | None) -> Cell | str:
    force = errors.force_rmse_meV_per_A
    if limit is None or force is None:
        return NONE
    is_met = force <= limit
    return Cell(f"≤ {limit:g}", "yes" if is_met else "no", "reached" if is_met else "missed")


def _bin_name(part: CalibrationBin) -> str:
    if part.gamma_to is None or math.isinf(part.gamma_to):
        return f"above {part.gamma_from:g}"
    return f"{part.gamma_from:g} to {part.gamma_to:g}"


def accuracy(data: ReportData) -> Section:
    """Return errors against the teacher: fresh trajectories, parity, distribution."""
    blocks: list[Block] = []
    figure = draw.validation(data)
    if data.validation is not None:
        rows = [*validation_rows(data), ("all", data.validation.errors)]
        named = [f"{name} {figures(force_rmse(errors))}" for name, errors in rows]
        if figure is not None:
            blocks.append(
                Drawing(
                    "validation",
                    figure,
                    f"Force RMSE in {FORCE_UNIT} on fresh trajectories: {listed(named)}.",
                    "Force error on trajectories that the teacher itself ran, which no training "
                    f"and no selection has seen (seed {data.validation.seed}, model "
                    f"{short_hash(data.validation.model_sha256)}). This is the plainest answer "
                    "to: how good is the potential? An orange stroke is the error that was asked "
                    "for.",
                )
            )
        blocks.append(_validation_table(rows, data))
    parity = draw.parity(data)
    if parity is not None:
        sets = [points.dataset for points in data.parity if len(points.reference_forces)]
        blocks.append(
            Drawing(
                "parity",
                parity,
                f"Predicted against reference energies and forces for {listed(sets)}; points "
                "lie along the diagonal when the model is right.",
                "Each point is a frame (first row) or a force component (second and third); where "
                "points are many, a stronger colour means more. Energies are without the atomic "
                "reference energies and the mean offset. A good model hugs the lines in every "
                "column alike; the third row shows what the second is too coarse for.",
            )
        )
    distribution = draw.error_distribution(data)
    if distribution is not None:
        blocks.append(
            Drawing(
                "errors",
                distribution,
                "Share of atoms whose force error is larger than a given value, by data set.",
                "How often errors of a given size happen. Curves that lie together say that "
                "unseen frames are as easy as those trained on; a tail to the right is rare but "
                "large errors.",
            )
        )
    waits = "" if blocks else "predictions to compare with the teacher"
    return Section("accuracy", "Accuracy", blocks, pending=waits)


def _validation_table(rows: Sequence[tuple[str, Errors]], data: ReportData) -> Table:
    by_run, overall = validation_limits(data)
    limits = {**by_run, "all": overall}
    return table(
        "Errors on fresh trajectories: forces in meV/Å, energy and virial in meV/atom.",
        (
            "trajectory",
            "frames",
            "atoms",
            "force RMSE",
            "asked for",
            "largest",
            "size of forces",
            "energy RMSE",
            "virial RMSE",
        ),
        [
            [
                name,
                whole(errors.n_structures),
                whole(errors.n_atoms),
                figures(errors.force_rmse_meV_per_A),
                _limit_cell(errors, limits.get(name)),
                figures(errors.force_max_meV_per_A),
                figures(errors.reference_force_rms_meV_per_A),
                figures(errors.energy_rmse_meV_per_atom),
                figures(errors.virial_rmse_meV_per_atom),
            ]
            for name, errors in rows
        ],
        text_columns=("trajectory",),
    )


__all__ = ["accuracy", "calibration"]
