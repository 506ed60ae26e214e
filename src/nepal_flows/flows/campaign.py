"""The loop: iterations until the certificate holds, the budget is spent, or nothing moves."""

import logging
from dataclasses import dataclass, field, replace
from typing import Any

from jobflow import Flow, JobOrder, Response, job

from nepal_flows.campaign import Campaign
from nepal_flows.flows.iteration import IterationMaker, placed
from nepal_flows.flows.steps import Step, next_step
from nepal_flows.jobs import (
    DECIDING,
    ActiveSetMaker,
    LabelMaker,
    ReplicaMaker,
    SeedMaker,
    StageMaker,
    TrainMaker,
    ValidateMaker,
)
from nepal_flows.jobs.force_constants import FitCrystalMaker
from nepal_flows.jobs.routing import routed
from nepal_flows.jobs.stage import graded_model
from nepal_flows.records import Records, derived_key
from nepal_flows.schemas import ActiveSetDoc, CampaignDoc, CampaignState, EndState, IterationDoc

logger = logging.getLogger(__name__)

CLOSE = "close"
"""Name of the job that ends a campaign: where it is queued, the end was decided."""

DECIDE = "decide"
"""Name of the job that says what follows an iteration."""


@dataclass
class CampaignMaker(StageMaker):
    """Wire a campaign from any point on: its deciding job appends what comes next.

    Attributes
    ----------
    routes
        Worker by job name, for FireWorks and jobflow-remote; see :func:`routed`.
    label_bundle, explore_bundle
        Labels and runs per job; None for all in one job, which shares the cores of its machine.
    """

    name: str = "campaign"
    routes: dict[str, str] = field(default_factory=dict)
    label_bundle: int | None = None
    explore_bundle: int | None = None

    def make(self, state: CampaignState) -> Flow:
        """Return the campaign from a state on; iteration 0 begins with the seeds' labels."""
        place = (state.campaign_id, state.iteration)
        first: list[Any] = []
        after = None
        if state.iteration == 0:
            checked = None
            if self.campaign.small_cells is not None:
                check = placed(ReplicaMaker(campaign=self.campaign).make(state.campaign_id), *place)
                checked, first = check.output.key, [check]
            seeder = SeedMaker(campaign=self.campaign)
            seeds = placed(seeder.make(state.campaign_id, after=checked), *place)
            labels = placed(
                self._labeler("label seeds").make(seeds.output.key),
                *place,
            )
            first, after = [*first, seeds, labels], labels.output.keys
        iteration = IterationMaker(
            campaign=self.campaign,
            labeler=self._labeler("label"),
            explore_bundle=self.explore_bundle,
        ).make(state, after=after)
        decide = self.decide(iteration.output.key)
        decide.name = DECIDE
        decide = placed(decide, *place)
        flow = Flow([*first, iteration, decide], name=f"{self.campaign.name} {state.iteration}")
        return routed(flow, self.routes)

    def after_labels(self, rest: Flow, selection_keys: list[str]) -> Flow:
        """Return a flow that first makes what is missing of earlier selections' labels."""
        labels: list[Any] = [
            placed(self._labeler("label again").make(key), key) for key in selection_keys
        ]
        return (
            rest
            if not labels
            else routed(Flow([*labels, rest], order=JobOrder.LINEAR), self.routes)
        )

    def _labeler(self, name: str) -> LabelMaker:
        return LabelMaker(
            campaign=self.campaign, name=name, bundle_size=self.label_bundle, routes=self.routes
        )

    @job(config=DECIDING)
    def decide(self, iteration_key: str) -> Response[dict[str, Any]]:
        """Append what follows the iteration with this key: the next one, the end, or nothing.

        The campaign is taken as it is registered now: it may have been extended, or stopped.
        """
        records = Records.current()
        document = records.load(IterationDoc, iteration_key)
        registered = records.load(CampaignDoc, document.campaign_id or "")
        if registered.end_state == "stopped":
            return Response(output={"end_state": "stopped", "reasons": registered.end_reasons})
        campaign = Campaign.model_validate(registered.settings)
        step = next_step(document, campaign)
        maker = replace(self, campaign=campaign)
        return Response(output=step.summary(), replace=maker.following(step))

    @job(config=DECIDING)
    def close(
        self,
        state: CampaignState,
        end_state: EndState,
        reasons: list[str],
        active_set_key: str | None,
        validation_key: str | None = None,
        model_key: str | None = None,
    ) -> Response[CampaignDoc]:
        """Write the end state and the delivered model into the campaign's document.

        If the campaign was changed after its end was decided, it has not ended: what follows its
        last iteration now is appended instead.

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
        registered = records.load(CampaignDoc, state.campaign_id)
        campaign = Campaign.model_validate(registered.settings)
        if campaign == self.campaign:
            if active_set_key is not None:
                model_key = graded_model(records, records.load(ActiveSetDoc, active_set_key)).key
            closed = registered.model_copy(
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
            return Response(output=closed)
        if registered.end_state == "stopped":
            return Response(output=registered)
        logger.warning("The campaign was changed after its end was decided: it goes on.")
        step = next_step(records.load(IterationDoc, state.previous_iteration_key or ""), campaign)
        anew = derived_key("end", registered.settings)[:12]
        maker = replace(self, campaign=campaign)
        return Response(output=registered, replace=maker.following(step, anew=anew))

    def following(self, step: Step, *, anew: str = "") -> Flow:
        """Return the next iteration, or the end, as a step says; see :meth:`finish`."""
        if step.end_state is None:
            return self.make(step.state)
        return self.finish(step.state, step.end_state, list(step.reasons), anew=anew)

    def finish(
        self, state: CampaignState, end_state: EndState, reasons: list[str], *, anew: str = ""
    ) -> Flow:
        """Return the end of a campaign: the model to deliver, its test, and the verdict.

        A converged campaign delivers the model that was certified, whatever was labelled since;
        any other gets the long fit to all its labels. ``anew`` tells the jobs of one end from those
        of another after the same iteration.
        """
        campaign = self.campaign
        place: list[str | int] = [state.campaign_id, state.iteration, "end"]
        place += [anew] if anew else []
        jobs: list[Any] = []
        model_key: Any = state.previous_model_key
        by_solve = campaign.model.force_constants is not None
        if end_state != "converged":
            trainer = FitCrystalMaker if by_solve else TrainMaker
            train = placed(trainer(campaign=campaign).make(state), *place)
            jobs.append(train)
            model_key = train.output.key
        if by_solve:
            close = self.close(state, end_state, reasons, None, model_key=model_key)
            close.name = CLOSE
            jobs.append(placed(close, *place))
            return routed(Flow(jobs, name=f"{campaign.name} end"), self.routes)
        active_set = placed(ActiveSetMaker(campaign=campaign).make(model_key), *place)
        jobs.append(active_set)
        validation_key = None
        if campaign.validation is not None:
            validate = placed(ValidateMaker(campaign=campaign).make(state, model_key), *place)
            jobs.append(validate)
            validation_key = validate.output.key
        close = self.close(state, end_state, reasons, active_set.output.key, validation_key)
        close.name = CLOSE
        jobs.append(placed(close, *place))
        return routed(Flow(jobs, name=f"{campaign.name} end"), self.routes)


__all__ = ["CLOSE", "DECIDE", "CampaignMaker"]
