"""Numbers, times and lists read as a person would write them."""

import math

import pytest

from nepal_flows.report.figures.style import power_label
from nepal_flows.report.words import (
    NONE,
    count,
    criterion,
    duration,
    figures,
    listed,
    percent,
    refusal,
    round_name,
    score_words,
    sentence,
    whole,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, NONE),
        (math.nan, NONE),
        (math.inf, "∞"),
        (0.0, "0"),
        (9.1, "9.10"),
        (0.000123456, "0.000123"),
        (123.4, "123"),
        (999.7, "1000"),
        (12345.0, "12\u202f345"),
        (-812.4, "-812"),
        (2.34e6, "2.3·10⁶"),
        (3e-7, "3·10⁻⁷"),
    ],
)
def test_figures_keep_significant_digits(value: float | None, text: str) -> None:
    assert figures(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NONE),
        (0.04, "0.04 s"),
        (2.04, "2.0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (165.0, "2 min 45 s"),
        (3600.0 * 27 + 120, "27 h 02 min"),
    ],
)
def test_durations_read_naturally(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.001, "0.001"), (5.0, "5"), (1000.0, "1000"), (1e4, "10⁴"), (2e7, "2·10⁷"), (1e-5, "10⁻⁵")],
)
def test_ticks_are_plain_up_to_a_thousand(value: float, text: str) -> None:
    assert power_label(value) == text


def test_counts_lists_and_shares() -> None:
    assert count(1, "label") == "1 label"
    assert count(12_000, "label") == "12\u202f000 labels"
    assert whole(None) == NONE
    assert listed([]) == ""
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert percent(0.0071) == "0.71 %"
    assert percent(1.0) == "100 %"
    assert round_name(None) == "start"
    assert round_name(3) == "3"
    assert refusal("over_budget") == "over the budget"
    assert refusal("too_shiny") == "too shiny"


def test_unknown_criterion_is_spelt_out() -> None:
    assert criterion("rank_saturated") == "rank of every element saturated"
    assert criterion("phonons_real") == "phonons real"


def test_sentence_ends_and_leaves_names_alone() -> None:
    assert sentence(" liquid: too hot ") == "liquid: too hot."
    assert sentence("Done.") == "Done."
    assert sentence("") == ""


def test_every_criterion_has_its_words():
    names = {
        asked: score_words(asked).name
        for asked in (None, "grade", "bayes", "committee", ("grade", "bayes"))
    }
    assert names[None] == names["grade"] == "grade"
    assert len(set(names.values())) == 4
    assert score_words(["bayes", "committee"]).symbol == "λ"
