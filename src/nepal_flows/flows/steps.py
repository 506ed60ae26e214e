"""What comes after an iteration: the same rule for the deciding job and for a resumed run."""

from dataclasses import dataclass
from typing import Any

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.stages import campaign_at, stage_end
from nepal_flows.jobs.assess import demands_key
from nepal_flows.schemas import CampaignState, EndState, IterationDoc, Phase


@dataclass(frozen=True)
class Step:
    """What comes next.

    Attributes
    ----------
    state
        What the next iteration, or the end, is asked to do.
    end_state
        None while the campaign goes on.
    reasons
        Why it ends, in sentences.
    """

    state: CampaignState
    end_state: EndState | None = None
    reasons: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the step as plain values, for the job's output."""
        return {
            "state": self.state.model_dump(mode="json"),
            "end_state": self.end_state,
            "reasons": list(self.reasons),
        }


def next_step(document: IterationDoc, campaign: Campaign) -> Step:
    """Return what follows an iteration under a campaign's present budget.

    The campaign is read as it is now, so that a larger budget, another condition or a stricter
    limit, and running again, carry on where the campaign had ended.
    """
    at_stage = campaign_at(campaign, document.size_stage)
    is_answered = document.demands_key in (None, demands_key(at_stage))
    if document.certificate is not None and is_answered:
        reasons = ("Every criterion of the certificate holds.",)
        return Step(_state(document, "confirmation"), "converged", reasons)
    is_stage_over = stage_end(document, campaign) is not None
    is_ready = document.is_ready_for_confirmation and is_answered and not is_stage_over
    phase: Phase = "confirmation" if is_ready else "loop"
    state = _next_stage(document) if is_stage_over else _state(document, phase)
    if document.failed_fraction > campaign.labels.max_failed_fraction:
        return Step(
            _state(document, "confirmation"),
            "failed",
            (
                f"{document.n_labels_failed} of {document.n_labels_total} labels failed, more than "
                f"`labels.max_failed_fraction` = {campaign.labels.max_failed_fraction:g} allows.",
            ),
        )
    spent = _used_up(document, campaign, phase)
    if spent:
        return Step(
            _state(document, "confirmation"), "budget_exhausted", (*spent, *document.reasons)
        )
    if document.is_stalled and is_answered and not is_stage_over:
        return Step(_state(document, "confirmation"), "stalled", tuple(document.reasons))
    return Step(state)


def _used_up(document: IterationDoc, campaign: Campaign, phase: Phase) -> list[str]:
    """Return what of the budget is used up, or would be before another round ends."""
    budget, done = campaign.budget, document.iteration_number + 1
    labels_spent = document.n_labels_total >= budget.labels
    spent = []
    if done >= budget.iterations:
        spent.append(f"All {budget.iterations} iterations of the budget were run.")
    if labels_spent and phase == "loop" and not document.is_clean:
        spent.append(f"All {budget.labels} labels of the budget were made.")
    if budget.core_hours is not None and document.core_hours_total >= budget.core_hours:
        spent.append(
            f"{document.core_hours_total:.1f} of {budget.core_hours:g} core-hours were used."
        )
    if budget.gpu_hours is not None and document.gpu_hours_total >= budget.gpu_hours:
        spent.append(f"{document.gpu_hours_total:.1f} of {budget.gpu_hours:g} GPU-hours were used.")
    if budget.gpu_hours is not None and not spent:
        left = budget.gpu_hours - document.gpu_hours_total
        wanted = sum(cost.gpu_s for cost in document.costs.values()) / 3600.0
        if wanted > left:
            spent.append(
                f"Another round would take some {wanted:.2g} GPU-hours, as the last one did; "
                f"{left:.2g} of {budget.gpu_hours:g} are left."
            )
    unpaid = document.core_hours_unpaid
    if budget.core_hours is not None and unpaid and not spent:
        left = budget.core_hours - document.core_hours_total
        if unpaid > left:
            spent.append(
                f"Labels of some {unpaid:.2g} core-hours are wanted, {max(left, 0.0):.2g} of "
                f"{budget.core_hours:g} are left."
            )
    return spent


def _state(document: IterationDoc, phase: Phase) -> CampaignState:
    return CampaignState(
        campaign_id=document.campaign_id or "",
        iteration=document.iteration_number + 1,
        phase=phase,
        n_clean_rounds=document.n_clean_rounds,
        previous_model_key=document.model_key,
        previous_iteration_key=document.key,
        size_stage=document.size_stage,
        stage_round=document.stage_round + 1,
    )


def _next_stage(document: IterationDoc) -> CampaignState:
    stage = {"size_stage": document.size_stage + 1, "stage_round": 0, "n_clean_rounds": 0}
    return _state(document, "loop").model_copy(update=stage)


__all__ = ["Step", "next_step"]
