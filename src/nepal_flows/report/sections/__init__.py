"""The sections of the page: functions from the documents of a campaign to blocks."""

from nepal_flows.report.blocks import Section, Terms
from nepal_flows.report.data import ReportData
from nepal_flows.report.sections.accuracy import accuracy, calibration
from nepal_flows.report.sections.labels import selection
from nepal_flows.report.sections.provenance import again, cost, settings_used, training
from nepal_flows.report.sections.rounds import conditions, coverage, grades, learning
from nepal_flows.report.words import GLOSSARY

_PARTS = (
    conditions,
    learning,
    grades,
    coverage,
    calibration,
    accuracy,
    selection,
    training,
    cost,
    settings_used,
    again,
)


def build_sections(data: ReportData) -> list[Section]:
    """Return all sections in reading order; one without content says what will come."""
    return [*(part(data) for part in _PARTS), Section("glossary", "Words", [Terms(GLOSSARY)])]


__all__ = ["build_sections"]
