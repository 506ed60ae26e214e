"""Figures show the numbers of the documents, and nothing where there is nothing."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from nepal_flows.report import ReportData, figures
from nepal_flows.report.figures.style import COLOURS, colour, in_style, new_figure, svg_markup
from nepal_flows.schemas import CampaignDoc

DRAWERS = (
    figures.calibration,
    figures.cost,
    figures.coverage,
    figures.error_distribution,
    figures.grade_rounds,
    figures.grade_traces,
    figures.learning_curve,
    figures.parity,
    figures.selection,
    figures.training_loss,
    figures.validation,
)


@pytest.mark.parametrize("draw", DRAWERS, ids=lambda draw: draw.__name__)
def test_nothing_is_drawn_without_documents(
    draw: Callable[[ReportData], Figure | None], make_campaign: Callable[..., CampaignDoc]
) -> None:
    assert draw(ReportData(make_campaign())) is None


def _line(figure: Figure, panel: int, label: str) -> tuple[list[float], list[float]]:
    lines = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return list(lines[0].get_xdata()), list(lines[0].get_ydata())


def test_learning_curve_holds_the_errors_of_every_round(converged: ReportData) -> None:
    figure = figures.learning_curve(converged)
    x, y = _line(figure, 0, "training")
    assert x == [doc.n_labels_training for doc in converged.iterations]
    assert y == [doc.training_errors.force_rmse_meV_per_A for doc in converged.iterations]
    assert _line(figure, 1, "fresh trajectories")[1] == [9.1]


def test_grade_panels_hold_every_condition(converged: ReportData) -> None:
    figure = figures.grade_rounds(converged)
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == [*converged.conditions[:-1], converged.conditions[-1] + " (extreme)"]
    _, largest = _line(figure, 0, "largest")
    assert largest == [doc.conditions[0].gamma_max for doc in converged.iterations]


def test_thinned_trace_keeps_its_peak(converged: ReportData) -> None:
    trace = converged.traces[0]
    grades = np.ones(50_000)
    grades[31_337] = 876.0
    long = replace(trace, steps=np.arange(50_000.0), grades=grades)
    figure = figures.grade_traces(replace(converged, traces=(long,)))
    drawn = figure.axes[0].lines[-1].get_ydata()
    assert len(drawn) <= 240
    assert max(drawn) == 876.0


def test_error_distribution_is_a_share_of_atoms(converged: ReportData) -> None:
    points = converged.parity_of("holdout")
    errors = 1000 * np.linalg.norm(points.predicted_forces - points.reference_forces, axis=1)
    x, y = _line(figures.error_distribution(converged), 0, "hold-out")
    for error, share in zip(x, y, strict=True):
        assert share == pytest.approx(np.mean(errors >= error))
    assert max(x) == pytest.approx(errors.max())


def test_cost_bars_add_up_to_the_total(converged: ReportData) -> None:
    figure = figures.cost(converged)
    drawn = sum(patch.get_width() for patch in figure.axes[0].patches)
    assert drawn == pytest.approx(converged.total_cost().wall_s)


def test_selection_bars_add_up_to_the_candidates(converged: ReportData) -> None:
    figure = figures.selection(converged)
    drawn = sum(patch.get_height() for patch in figure.axes[0].patches)
    assert drawn == sum(doc.n_candidates for doc in converged.selections)


def test_colours_become_variables_and_ids_take_the_name() -> None:
    @in_style
    def draw() -> Figure:
        figure = new_figure(2.0)
        figure.subplots().plot([0, 1], color=colour("blue"), label="#0072b2")
        figure.axes[0].legend()
        return figure

    markup = svg_markup(draw(), "one")
    assert "stroke: var(--blue)" in markup
    assert ">#0072b2</text>" in markup
    for value in set(COLOURS.values()) - {colour("blue")}:
        assert value not in markup
    assert ' id="one-' in markup
    assert "url(#one-" in markup
    assert markup == svg_markup(draw(), "one")
