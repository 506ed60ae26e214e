"""The sections of the page: functions from the documents of a campaign to blocks."""

from nepal_flows.report.blocks import Section, Terms
from nepal_flows.report.data import ReportData
from nepal_flows.report.sections.accuracy import accuracy, calibration
from nepal_flows.report.sections.force_constants import force_constants
from nepal_flows.report.sections.fragments import fragments
from nepal_flows.report.sections.labels import selection
from nepal_flows.report.sections.provenance import again, cost, settings_used, training
from nepal_flows.report.sections.rounds import conditions, coverage, grades, learning
from nepal_flows.report.sections.sizes import force_bias, sizes
from nepal_flows.report.words import glossary

_RESULTS = (
    conditions,
    learning,
    grades,
    coverage,
    calibration,
    accuracy,
    force_bias,
    selection,
    sizes,
    training,
    cost,
)
_ALWAYS = (settings_used, again)


def build_sections(data: ReportData) -> list[Section]:
    """Return the sections in reading order; those without content are named in one of their own."""
    results = [part(data) for part in _RESULTS]
    if data.crystal is not None:
        results[_RESULTS.index(coverage)] = force_constants(data, data.crystal)
    if data.carvings:
        results.append(fragments(data))
    pending = tuple((part.title, f"Waits for {part.pending}.") for part in results if part.pending)
    return [
        *(part for part in results if not part.pending),
        *([Section("pending", "Still to come", [Terms(pending)])] if pending else []),
        *(part(data) for part in _ALWAYS),
        Section("glossary", "Words", [Terms(glossary(data.score))]),
    ]


__all__ = ["build_sections"]
