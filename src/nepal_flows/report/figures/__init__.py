"""Figures of the report: functions from stored documents to matplotlib figures."""

from nepal_flows.report.figures.accuracy import (
    calibration,
    error_distribution,
    parity,
    validation,
)
from nepal_flows.report.figures.progress import (
    coverage,
    grade_rounds,
    grade_traces,
    learning_curve,
)
from nepal_flows.report.figures.style import svg_markup
from nepal_flows.report.figures.work import cost, selection, stage_names, training_loss

__all__ = [
    "calibration",
    "cost",
    "coverage",
    "error_distribution",
    "grade_rounds",
    "grade_traces",
    "learning_curve",
    "parity",
    "selection",
    "stage_names",
    "svg_markup",
    "training_loss",
    "validation",
]
