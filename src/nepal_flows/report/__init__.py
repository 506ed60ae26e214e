"""One page that explains a campaign, and its few-line summary for the terminal."""

from typing import TYPE_CHECKING

from nepal_flows.lazy import lazy_names

if TYPE_CHECKING:
    from nepal_flows.report.data import GradeTrace, LossHistory, ParityPoints, ReportData
    from nepal_flows.report.loading import report_data
    from nepal_flows.report.page import build_report, write_report
    from nepal_flows.report.summary import summary_lines
    from nepal_flows.report.verdict import Verdict, build_verdict

__all__ = [
    "GradeTrace",
    "LossHistory",
    "ParityPoints",
    "ReportData",
    "Verdict",
    "build_report",
    "build_verdict",
    "report_data",
    "summary_lines",
    "write_report",
]

_HOMES = {
    "GradeTrace": "data",
    "LossHistory": "data",
    "ParityPoints": "data",
    "ReportData": "data",
    "Verdict": "verdict",
    "build_report": "page",
    "build_verdict": "verdict",
    "report_data": "loading",
    "summary_lines": "summary",
    "write_report": "page",
}
__getattr__ = lazy_names(__name__, _HOMES)
