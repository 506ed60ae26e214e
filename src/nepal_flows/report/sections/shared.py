"""What several sections say."""

from nepal_flows.report.blocks import Block, Note
from nepal_flows.report.data import ReportData

FORCE_UNIT = "meV/Å"


def nothing_yet(what: str) -> list[Block]:
    return [Note(f"Nothing to show yet: {what}.")]


def threshold(data: ReportData) -> str:
    return f"{data.gamma_low:g}" if data.gamma_low is not None else "the threshold"


__all__ = ["FORCE_UNIT", "nothing_yet", "threshold"]
