"""The loop: iterations until the certificate holds, the budget is spent, or nothing moves."""

from dataclasses import dataclass, field, replace
from typing import Any

from jobflow import Flow, JobOrder, Response, job

from nepal_flows.campaign import Campaign
from nepal_flows.flows.iteration import IterationMaker, placed
from nepal_flows.flows.steps import Step, next_step
from nepal_flows.jobs import (
    DECIDING,
    ActiveSetMaker,
    CloseMaker,
    LabelMaker,
    ReplicaMaker,
    SeedMaker,
    StageMaker,
    TrainMaker,
    ValidateMaker,
)
from nepal_flows.jobs.force_constants import FitCrystalMaker
from nepal_flows.jobs.routing import routed
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc, CampaignState, EndState, IterationDoc

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

    def following(self, step: Step) -> Flow:
        """Return the next iteration, or the end, as a step says."""
        if step.end_state is None:
            return self.make(step.state)
        return self.finish(step.state, step.end_state, list(step.reasons))

    def finish(self, state: CampaignState, end_state: EndState, reasons: list[str]) -> Flow:
        """Return the end of a campaign: the model to deliver, its test, and the verdict.

        A converged campaign delivers the model that was certified, whatever was labelled since;
        any other gets the long fit to all its labels.
        """
        campaign = self.campaign
        place = (state.campaign_id, state.iteration, "end")
        jobs: list[Any] = []
        model_key: Any = state.previous_model_key
        by_solve = campaign.model.force_constants is not None
        if end_state != "converged":
            trainer = FitCrystalMaker if by_solve else TrainMaker
            train = placed(trainer(campaign=campaign).make(state), *place)
            jobs.append(train)
            model_key = train.output.key
        if by_solve:
            closer = CloseMaker(campaign=campaign)
            close = closer.make(state, end_state, reasons, None, model_key=model_key)
            jobs.append(placed(close, *place))
            return routed(Flow(jobs, name=f"{campaign.name} end"), self.routes)
        active_set = placed(ActiveSetMaker(campaign=campaign).make(model_key), *place)
        jobs.append(active_set)
        validation_key = None
        if campaign.validation is not None:
            validate = placed(ValidateMaker(campaign=campaign).make(state, model_key), *place)
            jobs.append(validate)
            validation_key = validate.output.key
        close = placed(
            CloseMaker(campaign=campaign).make(
                state, end_state, reasons, active_set.output.key, validation_key
            ),
            *place,
        )
        return routed(Flow([*jobs, close], name=f"{campaign.name} end"), self.routes)


__all__ = ["DECIDE", "CampaignMaker"]
