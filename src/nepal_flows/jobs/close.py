"""The end of a campaign: which model is delivered, and why it ended."""

import logging
from dataclasses import dataclass

from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model
from nepal_flows.records import Records
from nepal_flows.schemas import ActiveSetDoc, CampaignDoc, CampaignState, EndState

logger = logging.getLogger(__name__)

CLOSE = "close"
"""Name of the job that ends a campaign: where it is queued, the end was decided."""


@dataclass
class CloseMaker(StageMaker):
    """Write the end state and the delivered model into the campaign's document."""

    name: str = CLOSE

    @job(config=STAGE, output_schema=CampaignDoc)
    def make(
        self,
        state: CampaignState,
        end_state: EndState,
        reasons: list[str],
        active_set_key: str | None,
        validation_key: str | None = None,
        model_key: str | None = None,
    ) -> CampaignDoc:
        """Return the campaign as it ended; it has not, if it was extended after that was decided.

        Parameters
        ----------
        state
            What the end was asked to do; its iteration counts those that were run.
        end_state, reasons
            How it ended, and why.
        active_set_key
            Active set of the delivered model; None where it is no NEP.
        validation_key
            The test of the delivered model, if there was one.
        model_key
            The delivered model, where it has no active set.
        """
        records = Records.current()
        campaign = records.load(CampaignDoc, state.campaign_id)
        if Campaign.model_validate(campaign.settings) != self.campaign:
            logger.warning("The campaign was changed after its end was decided: it goes on.")
            return campaign
        if active_set_key is not None:
            model_key = graded_model(records, records.load(ActiveSetDoc, active_set_key)).key
        closed = campaign.model_copy(
            update={
                "end_state": end_state,
                "end_reasons": reasons,
                "final_model_key": model_key,
                "final_active_set_key": active_set_key,
                "validation_key": validation_key,
                "n_iterations": state.iteration,
            }
        )
        records.replace(closed)
        return closed


__all__ = ["CloseMaker"]
