"""The report page: one HTML file that holds everything it shows."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from nepal_flows.errors import RecordError
from nepal_flows.report.blocks import Drawing
from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import (
    holdout_rmse,
    label_counts,
    largest_safe_error,
    training_rmse,
)
from nepal_flows.report.figures import svg_markup
from nepal_flows.report.sections import build_sections
from nepal_flows.report.verdict import build_verdict
from nepal_flows.report.words import (
    NONE,
    count,
    criterion,
    duration,
    figures,
    force_rmse,
    whole,
)


@dataclass(frozen=True)
class KeyNumber:
    """One of the numbers at the top: its name, value, unit, and what it means."""

    name: str
    value: str
    unit: str
    hint: str


def build_report(data: ReportData) -> str:
    """Return the report of a campaign as one HTML page without any outside reference.

    Parameters
    ----------
    data
        The documents of the campaign. Only the campaign itself must be there; whatever else is
        missing is left out, and the page says so.
    """
    verdict = build_verdict(data)
    template = page_environment().get_template("page.html.j2")
    return template.render(
        name=data.campaign.name,
        facts=_facts(data),
        verdict=verdict,
        certified=data.certificate is not None,
        numbers=_key_numbers(data),
        criteria=_criteria(data),
        sections=build_sections(data),
        version=data.campaign.versions.get("nepal_flows", data.campaign.code_version),
        generated_at=data.generated_at,
    )


def write_report(data: ReportData, path: Path | str) -> Path:
    """Write the report of a campaign to a file and return its path.

    Raises
    ------
    RecordError
        If the file cannot be written.
    """
    path = Path(path)
    text = build_report(data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".part")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise RecordError(
            f"The report cannot be written to `{path}`: {error.strerror or error}. "
            "Give another place with `--out`."
        ) from error
    return path


@cache
def page_environment() -> Environment:
    """Return the templates of all pages, with the filters that they use."""
    environment = Environment(
        loader=PackageLoader("nepal_flows.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = _svg
    environment.filters["worded"] = _worded
    return environment


def _svg(drawing: Drawing) -> Markup:
    """Return a drawing as SVG; matplotlib has escaped all text in it."""
    markup = svg_markup(drawing.figure, drawing.name)
    label = f'<svg role="img" aria-label="{escape(drawing.alt)}"'
    return Markup(markup.replace("<svg", label, 1))


def _worded(text: str) -> Markup:
    """Return a sentence with code where it has backticks, and numbers kept with their units."""
    markup = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    markup = re.sub(r"(?<=\d) (?=(?:m?eV/Å|%|K|GPa|Å)\b|%)", "\N{NO-BREAK SPACE}", markup)
    return Markup(markup.replace("eV/Å", "eV/\N{WORD JOINER}Å"))


def _facts(data: ReportData) -> list[str]:
    facts = []
    if data.elements:
        facts.append(", ".join(data.elements))
    labelers = sorted({label.labeler for label in data.labels})
    if labelers:
        facts.append(f"labels by {', '.join(labelers)}")
    if data.conditions:
        facts.append(count(len(data.conditions), "condition"))
    if data.campaign.structure_names:
        facts.append("from " + ", ".join(data.campaign.structure_names))
    facts.append(f"begun {data.campaign.created_at[:16].replace('T', ' ')}")
    return facts


def _key_numbers(data: ReportData) -> list[KeyNumber]:
    cost, elapsed, last = data.total_cost(), data.elapsed_s(), data.last
    validation = force_rmse(data.validation.errors) if data.validation else None
    numbers = [_label_number(data)]
    numbers.append(
        KeyNumber(
            "Rounds",
            str(len(data.iterations)),
            "",
            f"{count(last.n_clean_rounds, 'clean round')} running" if last else "none ended yet",
        )
    )
    fresh = ("Force error, fresh", figures(validation), "RMSE on trajectories of the teacher")
    if validation is None:
        fresh = ("Force error, training", figures(training_rmse(data)), "RMSE on its own labels")
    numbers.append(KeyNumber(fresh[0], fresh[1], "meV/Å", fresh[2]))
    numbers.append(
        KeyNumber(
            "Force error, hold-out",
            figures(holdout_rmse(data)),
            "meV/Å",
            "RMSE on labels never trained on",
        )
    )
    numbers.append(
        KeyNumber(
            "Largest error called safe",
            figures(largest_safe_error(data)),
            "meV/Å",
            f"among atoms the {data.score.name} let pass",
        )
    )
    numbers.append(
        KeyNumber("Time", duration(elapsed), "", f"{duration(cost.cpu_s)} of CPU")
        if elapsed is not None
        else KeyNumber("Time", NONE, "", "nothing on record")
    )
    return numbers


def _label_number(data: ReportData) -> KeyNumber:
    counts = label_counts(data)
    if counts is None:
        return KeyNumber("Labels", "0", "", "none yet")
    total, training, holdout, failed = counts
    hint = f"{training} training, {holdout} hold-out"
    return KeyNumber("Labels", whole(total), "", hint + (f", {failed} failed" if failed else ""))


def _criteria(data: ReportData) -> list[tuple[str, bool]]:
    if data.last is None:
        return []
    return [(criterion(name), is_met) for name, is_met in data.last.checks.items()]


__all__ = ["KeyNumber", "build_report", "write_report"]
