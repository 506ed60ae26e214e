"""What is left of a campaign, in words: rounds, labels and cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nepal_flows.campaign.past_rounds import Spent
from nepal_flows.report.data import ReportData
from nepal_flows.report.words import count, duration
from nepal_flows.schemas import Cost

if TYPE_CHECKING:
    from nepal_flows.campaign.outlook import Outlook

_GOES_ON = (None, "stopped", "failed")


def outlook_of(data: ReportData) -> "Outlook | None":
    """Return what is left of a campaign; None where it has ended, or no round has.

    Parameters
    ----------
    data
        Its newest documents, with what the others add up to.
    """
    totals, last = data.totals, data.last
    if totals is None or last is None or data.campaign.end_state not in _GOES_ON:
        return None
    # the model of a campaign file takes a tenth of a second, and `nepal status` must be quick
    from nepal_flows.campaign.model import Campaign  # noqa: PLC0415
    from nepal_flows.campaign.outlook import Standing, campaign_outlook  # noqa: PLC0415

    cost = data.total_cost()
    standing = Standing(
        n_labels=totals.n_labels,
        n_rounds=totals.n_iterations,
        n_clean_rounds=last.n_clean_rounds,
        is_ready=last.is_ready_for_confirmation,
        used=Spent(cost.cpu_s, cost.gpu_s),
    )
    try:
        campaign = Campaign.model_validate(data.campaign.settings)
    except ValidationError:  # of another version, which knows other keys
        return None
    return campaign_outlook(campaign, standing, totals.past)


def outlook_text(outlook: "Outlook | None") -> str:
    """Return what is left in one line; empty where nothing is known."""
    if outlook is None:
        return ""
    rounds, labels = (_range(*pair) for pair in (outlook.n_rounds, outlook.n_labels))
    parts = [f"{rounds} more rounds", f"{labels} labels", f"{_times(outlook.cpu_s)} of CPU"]
    if outlook.gpu_s[1]:
        parts.append(f"{_times(outlook.gpu_s)} of GPU")
    learnt = count(outlook.n_learnt, "newest round")
    return f"{', '.join(parts)}, as its {learnt} took; least if all is clean from now on"


def cost_text(cost: Cost, budget: Mapping[str, Any]) -> str:
    """Return processor and GPU time, with their shares of the budget where there is one.

    Parameters
    ----------
    cost
        What was spent.
    budget
        The section of the campaign file.
    """
    core, gpu = budget.get("core_hours"), budget.get("gpu_hours")
    parts = [f"{duration(cost.cpu_s)} of CPU{_of_budget(core)}"]
    if cost.gpu_s or gpu is not None:
        parts.append(f"{duration(cost.gpu_s)} of GPU{_of_budget(gpu)}")
    return ", ".join(parts)


def _of_budget(hours: float | None) -> str:
    return "" if hours is None else f" (budget {hours:g} h)"


def _range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least} to {most}"


def _times(seconds: tuple[float, float]) -> str:
    least, most = map(duration, seconds)
    return most if least == most else f"{least} to {most}"


__all__ = ["cost_text", "outlook_of", "outlook_text"]
