"""One page that explains a campaign, and its few-line summary for the terminal."""

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
