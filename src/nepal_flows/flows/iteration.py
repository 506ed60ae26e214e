"""One iteration: train, active set, explore, select, label, assess."""

from dataclasses import dataclass
from typing import Any

from jobflow import Flow, Job

from nepal_flows.campaign.carving import may_carve
from nepal_flows.campaign.stages import campaign_at
from nepal_flows.jobs import (
    ActiveSetMaker,
    AssessMaker,
    CarveMaker,
    CommitteeMaker,
    ExploreMaker,
    LabelMaker,
    MemberMaker,
    PosteriorMaker,
    SelectMaker,
    StageMaker,
    TrainMaker,
)
from nepal_flows.jobs.force_constants import (
    AssessCrystalMaker,
    ExploreCrystalMaker,
    FitCrystalMaker,
    SelectCrystalMaker,
)
from nepal_flows.records import derived_uuid
from nepal_flows.schemas import CampaignState


@dataclass
class IterationMaker(StageMaker):
    """Wire one iteration of a campaign; its output is the IterationDoc.

    Attributes
    ----------
    labeler
        Makes the labels; by default all in one job.
    explore_bundle
        Runs per job; None for all in one.
    """

    name: str = "iteration"
    labeler: LabelMaker | None = None
    explore_bundle: int | None = None

    def make(self, state: CampaignState, *, after: Any = None) -> Flow:
        """Return the iteration that a state asks for.

        Parameters
        ----------
        state
            Which campaign, iteration and phase; a confirmation trains the long fit and explores
            larger cells.
        after
            Output of a job that must have run before.
        """
        campaign = campaign_at(self.campaign, state.size_stage)
        place = (state.campaign_id, state.iteration)
        if campaign.model.force_constants is not None:
            return self._of_force_constants(state, after)
        train = placed(TrainMaker(campaign=campaign).make(state, after=after), *place)
        active_set = placed(ActiveSetMaker(campaign=campaign).make(train.output.key), *place)
        grader_key = active_set.output.key
        made = [train, active_set]
        criteria = campaign.selection.criteria
        if "bayes" in criteria:
            posterior = placed(PosteriorMaker(campaign=campaign).make(grader_key), *place)
            grader_key = posterior.output.active_set_key
            made.append(posterior)
        if "committee" in criteria:
            trainer = MemberMaker(campaign=campaign)
            members = [
                placed(trainer.make(state, number, after=after), *place, number)
                for number in range(1, campaign.selection.committee.n_models)
            ]
            member_keys = [member.output.key for member in members]
            committee = placed(
                CommitteeMaker(campaign=campaign).make(grader_key, member_keys), *place
            )
            grader_key = committee.output.active_set_key
            made += [*members, committee]
        explorer = ExploreMaker(campaign=campaign, bundle_size=self.explore_bundle)
        labeler = self.labeler or LabelMaker(campaign=campaign)
        explore = [
            placed(explorer.make(state, grader_key, bundle), *place, number)
            for number, bundle in enumerate(explorer.bundles(state.phase))
        ]
        explorations = [job.output.keys for job in explore]
        asked: list[Any] = [state, grader_key, explorations]
        carve = []
        if may_carve(campaign):
            carve = [placed(CarveMaker(campaign=campaign).make(*asked), *place)]
            asked.append(carve[0].output.key)
        select = placed(SelectMaker(campaign=campaign).make(*asked), *place)
        label = placed(labeler.make(select.output.key), *place)
        assess = placed(
            AssessMaker(campaign=campaign).make(
                state, grader_key, explorations, select.output.key, label.output
            ),
            *place,
        )
        jobs: list[Any] = [*made, *explore, *carve, select, label, assess]
        return Flow(jobs, output=assess.output, name=f"iteration {state.iteration}")

    def _of_force_constants(self, state: CampaignState, after: Any) -> Flow:
        """Return the iteration of a campaign whose model is force constants."""
        place = (state.campaign_id, state.iteration)
        fit = placed(FitCrystalMaker(campaign=self.campaign).make(state, after=after), *place)
        model_key = fit.output.key
        explorer = ExploreCrystalMaker(campaign=self.campaign, bundle_size=self.explore_bundle)
        explore = [
            placed(explorer.make(state, model_key, bundle), *place, number)
            for number, bundle in enumerate(explorer.bundles(state.phase))
        ]
        explorations = [job.output.keys for job in explore]
        select = placed(
            SelectCrystalMaker(campaign=self.campaign).make(state, model_key, explorations), *place
        )
        labeler = self.labeler or LabelMaker(campaign=self.campaign)
        label = placed(labeler.make(select.output.key), *place)
        assess = placed(
            AssessCrystalMaker(campaign=self.campaign).make(
                state, model_key, explorations, select.output.key, label.output
            ),
            *place,
        )
        jobs: list[Any] = [fit, *explore, select, label, assess]
        return Flow(jobs, output=assess.output, name=f"iteration {state.iteration}")


def placed(job: Job, *place: str | int) -> Job:
    """Return a new job with the uuid of its place, so that a re-run writes to the same place.

    To be called before the job's output is referred to.
    """
    job.set_uuid(derived_uuid(*place, job.name))
    return job


__all__ = ["IterationMaker", "placed"]
