"""The page: self-contained, whole in every state of a campaign, safe against hostile names."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import get_args

import matplotlib as mpl
import numpy as np
import pytest

from nepal_flows.errors import RecordError
from nepal_flows.report import ParityPoints, ReportData, build_report, figures, write_report
from nepal_flows.report.figures import svg_markup
from nepal_flows.schemas import CampaignDoc, EndState

VOID = {"meta", "link", "br", "img", "hr", "input"}
FIGURES = {
    "learning",
    "grades",
    "traces",
    "coverage",
    "calibration",
    "validation",
    "parity",
    "errors",
    "selection",
    "loss",
    "cost",
}


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything a reader sees."""
        return re.sub(r"\s+", " ", " ".join(self.words))

    def attributes(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [value for _, attrs in self.tags if (value := attrs.get(name)) is not None]


@pytest.fixture(scope="module")
def html(converged: ReportData) -> str:
    return build_report(converged)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_page_refers_to_nothing_outside(html: str, page: Page) -> None:
    references = page.attributes("src") + page.attributes("href") + page.attributes("srcset")
    assert references
    assert all(reference.startswith("#") for reference in references)
    assert re.findall(r"url\((?!#)", html) == []
    assert "@import" not in html
    assert {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link"} == set()


def test_every_reference_has_its_target_and_every_id_is_unique(html: str, page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    targets = {reference[1:] for reference in page.attributes("href")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert targets <= set(ids)


def test_page_is_small(html: str) -> None:
    assert len(html.encode()) < 800_000


def test_page_holds_every_figure_with_alternative_text(page: Page) -> None:
    drawn = {i.removeprefix("figure-") for i in page.attributes("id") if i.startswith("figure-")}
    assert drawn == FIGURES
    images = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert len(images) == len(FIGURES)
    for attrs in images:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 30
    assert sum(tag == "figcaption" for tag, _ in page.tags) == len(FIGURES)


def test_verdict_comes_before_all_sections(page: Page) -> None:
    sections = [attrs["id"] for tag, attrs in page.tags if tag == "section"]
    assert sections[0] == "verdict"
    assert "Converged" in page.text
    assert "surfaces, grain boundaries and clusters" in page.text


def test_same_documents_give_the_same_page_whatever_matplotlibrc_says(
    converged: ReportData, html: str
) -> None:
    with mpl.rc_context({"axes.facecolor": "#ff0000", "font.size": 30.0}):
        assert build_report(converged) == html


@pytest.mark.parametrize("end_state", [*get_args(EndState), None])
def test_every_state_gives_a_page(
    make_data: Callable[..., ReportData], end_state: str | None
) -> None:
    data = make_data(n_iterations=1, end_state=None, conditions=("one",))
    data = replace(data, labels=(), selections=(), traces=(), histories=())
    campaign = data.campaign.model_copy(update={"end_state": end_state})
    page = Page(build_report(replace(data, campaign=campaign)))
    headlines = {
        "converged": "Converged",
        "budget_exhausted": "Budget spent",
        "stalled": "Stalled",
        "failed": "Failed",
        "stopped": "Stopped",
        None: "Not finished",
    }
    assert headlines[end_state] in page.text


def test_campaign_before_its_first_round_gives_a_page(
    make_data: Callable[..., ReportData],
) -> None:
    page = Page(build_report(make_data(n_iterations=0, end_state=None)))
    assert "No iteration has ended yet" in page.text
    assert "Still to come" in page.text
    assert "8 training, 0 hold-out" in page.text


def test_campaign_alone_gives_a_page(make_campaign: Callable[..., CampaignDoc]) -> None:
    page = Page(build_report(ReportData(make_campaign(structure_names=[], settings={}))))
    assert "No iteration has ended yet" in page.text
    assert "Still to come" in page.text


@pytest.mark.parametrize(
    "names",
    [
        ("iterations",),
        ("models", "histories"),
        ("labels", "selections"),
        ("explorations", "active_sets", "traces"),
        ("validations", "parity", "nep_in", "generated_at"),
    ],
    ids=lambda names: names[0],
)
def test_any_kind_of_document_may_be_missing(
    make_data: Callable[..., ReportData], names: tuple[str, ...]
) -> None:
    data = replace(make_data(n_iterations=2, conditions=("one",)), traces=())
    gone = {name: "" if name in {"nep_in", "generated_at"} else () for name in names}
    assert "Converged" in Page(build_report(replace(data, **gone))).text


def test_two_elements_are_both_shown(make_data: Callable[..., ReportData]) -> None:
    page = Page(build_report(make_data(elements=("Cu", "Au"), n_iterations=4, end_state="stalled")))
    assert "Cu, Au" in page.text
    labels = " ".join(page.attributes("aria-label"))
    assert re.search(r"Cu \d+ of 540 and Au \d+ of 540", labels)


def test_twenty_conditions_fit(make_data: Callable[..., ReportData]) -> None:
    names = tuple(f"a condition with a long name, number {i}" for i in range(20))
    data = make_data(conditions=names, n_iterations=2, end_state="stalled")
    markup = svg_markup(figures.grade_rounds(data), "grades")
    assert all(name in markup for name in names)
    assert len(markup) < 200_000


HOSTILE = "</style><script>alert('x')</script>\"' --> $\\alpha$ {{ 7 * 7 }} & 汉字 \N{SNOWMAN}"


def test_hostile_names_are_shown_as_text(make_data: Callable[..., ReportData]) -> None:
    data = make_data(
        name=HOSTILE, conditions=(HOSTILE, "plain"), n_iterations=2, end_state="failed"
    )
    campaign = data.campaign.model_copy(
        update={
            "end_reasons": [HOSTILE],
            "structure_names": [HOSTILE],
            "versions": {HOSTILE: HOSTILE},
            "settings": {"name": HOSTILE},
        }
    )
    labels = tuple(
        label.model_copy(update={"status": "quarantined", "reason": HOSTILE})
        for label in data.labels
    )
    html = build_report(replace(data, campaign=campaign, labels=labels, nep_in=HOSTILE))
    page = Page(html)
    assert "<script" not in html
    assert "49" not in [word.strip() for word in page.words]
    assert re.sub(r"\s+", " ", HOSTILE) in page.text
    names_in_figures = [word for word in page.words if word.startswith(HOSTILE)]
    assert len(names_in_figures) >= 4


def test_tens_of_thousands_of_atoms_stay_small(converged: ReportData) -> None:
    rng = np.random.default_rng(1)
    forces = rng.normal(size=(60_000, 3))
    energies = rng.normal(size=3000)
    points = ParityPoints(
        "validation", energies, energies + 0.01, forces, forces + rng.normal(0, 0.05, forces.shape)
    )
    data = replace(converged, parity=(points,))
    drawn = [svg_markup(draw(data), "n") for draw in (figures.parity, figures.error_distribution)]
    assert sum(map(len, drawn)) < 400_000


def test_values_that_are_not_finite_are_left_out(converged: ReportData) -> None:
    points = converged.parity[1]
    forces = points.predicted_forces.copy()
    forces[::2] = np.nan
    energies = np.full_like(points.predicted_energies, np.inf)
    broken = replace(points, predicted_forces=forces, predicted_energies=energies)
    data = ReportData(converged.campaign, models=converged.models, parity=(broken,))
    html = build_report(data)
    assert "Converged" in html
    assert re.search(r"[ML] -?(nan|inf)|RMSE (nan|inf)", html) is None
    assert "RMSE 8" in html or "RMSE 7" in html


def test_page_is_written_whole_or_not_at_all(
    tmp_path: Path, make_campaign: Callable[..., CampaignDoc]
) -> None:
    data = ReportData(make_campaign())
    path = write_report(data, tmp_path / "new" / "report.html")
    assert path.read_text(encoding="utf-8") == build_report(data)
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_place_that_cannot_be_written_is_named(
    tmp_path: Path, make_campaign: Callable[..., CampaignDoc]
) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(RecordError, match=r"report\.html.*--out"):
        write_report(ReportData(make_campaign()), tmp_path / "file" / "report.html")


def test_page_of_a_bayesian_campaign_speaks_of_its_own_score(converged):
    settings = {**converged.campaign.settings, "selection": {"criterion": "bayes"}}
    campaign = converged.campaign.model_copy(update={"settings": settings})
    page = build_report(replace(converged, campaign=campaign))
    text = " ".join(Page(page).words)
    assert "relative error bar" in text
    assert "largest R" in text
    assert not re.search(r"\bgrade γ|Grade along|largest γ|the grade let pass", page)
    assert "largest γ" in " ".join(Page(build_report(converged)).words)
