"""How a campaign's state is shown, and its report written."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nepal_flows.cli.cluster_output import next_lines, queue_content, queue_lines
from nepal_flows.cli.locate import Located
from nepal_flows.cli.state import CampaignRunState
from nepal_flows.report.data import ReportData
from nepal_flows.report.newest import newest_data
from nepal_flows.report.outlook import outlook_of
from nepal_flows.report.summary import summary_lines
from nepal_flows.schemas import IterationDoc

if TYPE_CHECKING:
    from nepal_flows.flows.local import CampaignRun

REPORT = "report.html"

_NO_QUEUE = (
    "  queue       unknown: no my_launchpad.yaml was found (source env.sh or set `launchpad_file`)",
    "  next        if it was never submitted: nepal run, with the same campaign file",
)


def write_campaign_report(located: Located, out: Path | None, *, running: bool | None) -> Path:
    """Write the report of a campaign and return its path.

    Raises
    ------
    BlobError
        If the page is written, but bytes that the campaign's documents name are damaged.
    """
    from nepal_flows.records import require_intact
    from nepal_flows.report import report_data, write_report

    data = report_data(located.records, located.campaign.key, is_running=running)
    path = Path(write_report(data, out or located.directory / REPORT))
    require_intact(located.records.blobs, data.documents)
    return path


def status_lines(located: Located, state: CampaignRunState) -> list[str]:
    """Return the state of a campaign as text."""
    lines = summary_lines(_newest(located, state))
    told = [line for line in lines if not line.startswith("  next ")]
    if state.queue_error is not None:
        return [*told, "  queue       unknown: FireWorks' database does not answer"]
    if not state.is_queue_known and located.campaign.end_state is None:
        return [*told, *_NO_QUEUE]
    if state.queue is None:
        return lines
    return [*told, *queue_lines(state.queue), *next_lines(located.campaign, state.queue)]


def status_content(located: Located, state: CampaignRunState) -> dict[str, Any]:
    """Return the JSON document of a campaign's state."""
    from nepal_flows.flows.local import last_iteration, waiting_selection

    campaign = located.campaign
    data = _newest(located, state)
    last = last_iteration(located.records, campaign.key)
    waiting = None if campaign.end_state else waiting_selection(located.records, campaign.key)
    return {
        "campaign": campaign.name,
        "campaign_id": campaign.key,
        "directory": located.directory,
        "end_state": campaign.end_state,
        "end_reasons": campaign.end_reasons,
        "is_running": state.is_running,
        "queue": None if state.queue is None else queue_content(state.queue),
        "queue_error": None if state.queue_error is None else str(state.queue_error),
        "waiting_selection": waiting,
        "final_model_key": campaign.final_model_key,
        "cost": data.total_cost(),
        "forecast": outlook_of(data),
        **_iteration_content(last),
    }


def _newest(located: Located, state: CampaignRunState) -> ReportData:
    """Return a campaign's newest documents; who works on it is unknown if the queue is."""
    is_unknown = state.queue_error is not None or not state.is_queue_known
    is_running = None if is_unknown else state.is_running
    return newest_data(located.records, located.campaign.key, is_running=is_running)


def _iteration_content(last: IterationDoc | None) -> dict[str, Any]:
    if last is None:
        return {"iteration": None}
    names = (
        "iteration",
        "phase",
        "size_stage",
        "stage_round",
        "label_sums",
        "force_bias",
        "n_labels_total",
        "n_labels_training",
        "n_labels_holdout",
        "n_labels_failed",
        "n_clean_rounds",
        "is_clean",
        "checks",
        "reasons",
        "core_hours_total",
        "gpu_hours_total",
        "training_errors",
        "holdout_errors",
        "conditions",
        "coverage",
        "certificate",
        "costs",
    )
    return {name: getattr(last, name) for name in names}


def finished_content(result: "CampaignRun") -> dict[str, Any]:
    """Return the JSON document of a run that ended."""
    located = Located(result.directory, result.records, result.campaign)
    path = write_campaign_report(located, None, running=False)
    return {**status_content(located, CampaignRunState(is_running=False)), "report": path}


def finished_lines(result: "CampaignRun", campaign_file: Path) -> list[str]:
    """Write the report, and return how a run ended as text."""
    located = Located(result.directory, result.records, result.campaign)
    lines = status_lines(located, CampaignRunState(is_running=False))
    path = write_campaign_report(located, None, running=False)
    if result.waiting_selection is not None:
        lines += [
            "Frames wait to be labelled (`pause_before_label`). Look at the report, then: "
            f"nepal run {campaign_file} --approve"
        ]
    return [*lines, f"report: {path}"]


__all__ = [
    "REPORT",
    "finished_content",
    "finished_lines",
    "status_content",
    "status_lines",
    "write_campaign_report",
]
