"""What several sections say."""

from nepal_flows.report.data import ReportData

FORCE_UNIT = "meV/Å"


def threshold(data: ReportData) -> str:
    """Return the threshold grade as text."""
    return f"{data.gamma_low:g}" if data.gamma_low is not None else "the threshold"


__all__ = ["FORCE_UNIT", "threshold"]
