"""The committee of a model: its further members, one job each, and what they disagree about.

The first member is the model that is delivered, so that bars and scores are of exactly that model.
The others differ from it by their seed and, with ``bootstrap``, by the frames they are trained on;
a member goes on from its own predecessor where the model itself goes on from its.
"""

from dataclasses import asdict, dataclass

from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.committee import Committee, bootstrap_indices, calibrated_committee
from nepal_flows.core.nep.training import TrainingSettings, fit_reference_energies
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import TrainingError
from nepal_flows.io.committee import pack_committee, unpack_committee
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import Dataset, labelled_frames
from nepal_flows.jobs.model_errors import errors_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model
from nepal_flows.jobs.timing import Stopwatch, total_cost
from nepal_flows.jobs.train import trained_natively
from nepal_flows.jobs.training_plan import PlannedTraining, planned_fit, planned_training
from nepal_flows.records import Records, derived_key, derived_seed, made_once
from nepal_flows.schemas import ActiveSetDoc, CampaignState, CommitteeDoc, MemberDoc

_TO_MEV = 1000.0
_SEEDS_BATCH = -1


@dataclass
class MemberMaker(StageMaker):
    """Train one further member of a committee, beside the model itself."""

    name: str = "train member"

    @job(config=STAGE, output_schema=MemberDoc)
    def make(self, state: CampaignState, number: int, after: object = None) -> MemberDoc:  # noqa: ARG002
        """Return the member with a number, of the model that a state asks for.

        Parameters
        ----------
        state
            Which campaign and phase.
        number
            From 1 on; the model itself is 0.
        after
            Output of a job that must have run before.
        """
        records = Records.current()
        plan = planned_training(records, self.campaign, state)
        key = member_key(self.campaign, plan.key, number)
        return made_once(
            records, MemberDoc, key, lambda: self._trained(records, state, plan, number, key)
        )

    def _trained(
        self, records: Records, state: CampaignState, plan: PlannedTraining, number: int, key: str
    ) -> MemberDoc:
        watch = Stopwatch()
        parent = None
        if plan.fit.parent is not None and plan.previous is not None:
            parent = records.find(MemberDoc, member_key(self.campaign, plan.previous.key, number))
        fit = plan.fit
        if parent is None:  # the first of its line: as the model itself would be without one
            fit = planned_fit(self.campaign, state, plan.dataset, None)
        if not isinstance(fit.settings, TrainingSettings):
            raise TrainingError(
                "Members of a committee are trained by the native trainer. Choose "
                "`training.trainer: native`."
            )
        seed = derived_seed(self.campaign.seed, "train", number)
        frames = labelled_frames(records, plan.dataset.train)
        drawn = self._drawn(plan.dataset, frames, seed)
        elements = nep_input_of(self.campaign).architecture.elements
        fixed = self.campaign.training.reference_energies
        references = fit_reference_energies(frames, elements) if fixed == "fit" else fixed
        trained = trained_natively(
            self.campaign,
            [frames[index] for index in drawn],
            fit.settings,
            initial=None if parent is None else read_nep_txt(_text(records, parent)),
            seed=seed,
            stage=self.name,
            reference_energies=references,
        )
        model = read_nep_txt(trained.text)
        report_progress(self.name, 1, 1, f"member {number}: {len(set(drawn))} frames")
        return MemberDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_key=plan.key,
            number=number,
            model_sha256=model_sha256(trained.text),
            model=records.blobs.put(trained.text.encode(), "nep.txt"),
            history=records.blobs.put(trained.history, "loss.out"),
            seed=seed,
            bootstrap=self.campaign.selection.committee.bootstrap,
            n_structures=len(drawn),
            n_distinct_structures=len(set(drawn)),
            stage=fit.stage,
            parent_model_sha256=None if parent is None else parent.model_sha256,
            settings=asdict(fit.settings),
            training_errors=errors_of(model, frames, trained.references),
            best_step=trained.n_steps,
            cost=watch.cost(),
        )

    def _drawn(self, dataset: Dataset, frames: list[LabelledStructure], seed: int) -> list[int]:
        """Return the frames that the member is trained on."""
        if not self.campaign.selection.committee.bootstrap:
            return list(range(len(frames)))
        batches = [
            _SEEDS_BATCH if entry.iteration is None else entry.iteration for entry in dataset.train
        ]
        structures = [frame.structure for frame in frames]
        return [int(index) for index in bootstrap_indices(batches, structures, seed=seed)]


@dataclass
class CommitteeMaker(StageMaker):
    """Compare the members of a committee on the frames that its model was trained on."""

    name: str = "committee"

    @job(config=STAGE, output_schema=CommitteeDoc)
    def make(self, active_set_key: str, member_keys: list[str]) -> CommitteeDoc:
        """Return the committee of the model that an active set belongs to.

        Parameters
        ----------
        active_set_key
            Names the model; handed on to the stages that score.
        member_keys
            Keys of the further members, in order.
        """
        records = Records.current()
        grader = records.load(ActiveSetDoc, active_set_key)
        key = committee_key(self.campaign, grader)
        return made_once(
            records, CommitteeDoc, key, lambda: self._document(records, key, grader, member_keys)
        )

    def _document(
        self, records: Records, key: str, grader: ActiveSetDoc, member_keys: list[str]
    ) -> CommitteeDoc:
        watch = Stopwatch()
        report_progress("committee", 0, 1)
        training = graded_model(records, grader)
        members = [records.load(MemberDoc, member) for member in member_keys]
        strangers = [str(m.number) for m in members if m.model_key != training.key]
        if strangers:
            raise TrainingError(
                f"Members {', '.join(strangers)} belong to another model than the active set. Run "
                "the campaign again: they are trained anew."
            )
        texts = [records.blobs.get(training.model).decode()]
        texts += [_text(records, member) for member in members]
        committee = calibrated_committee(
            [read_nep_txt(text) for text in texts],
            unpack_frames(records.blobs.get(training.dataset)).labelled,
            n_threads=self.campaign.resources.workers,
        )
        deviation = _TO_MEV * committee.training_deviation
        report_progress("committee", 1, 1, f"{len(texts)} members, {deviation:.1f} meV/Å apart")
        made_now = [m.cost for m in members if m.iteration == training.iteration]
        return CommitteeDoc(
            key=key,
            campaign_id=training.campaign_id,
            iteration=training.iteration,
            model_key=training.key,
            model_sha256=training.model_sha256,
            active_set_key=grader.key,
            member_keys=list(member_keys),
            committee=records.blobs.put(pack_committee(texts, committee), "committee.json"),
            n_models=len(texts),
            bootstrap=self.campaign.selection.committee.bootstrap,
            training_deviation_meV_per_A=deviation,
            force_scale=committee.force_scale,
            cost=total_cost([*made_now, watch.cost()]),
        )


def member_key(campaign: Campaign, model_key: str, number: int) -> str:
    """Return the key of a further member of a model's committee."""
    return derived_key("member", model_key, number, campaign.selection.committee.bootstrap)


def committee_key(campaign: Campaign, grader: ActiveSetDoc) -> str:
    """Return the key of the committee of an active set's model under a campaign's choices."""
    section = campaign.selection.committee
    return derived_key("committee", grader.key, section.n_models, section.bootstrap)


def stored_committee(records: Records, campaign: Campaign, grader: ActiveSetDoc) -> Committee:
    """Return the committee of an active set's model.

    Raises
    ------
    RecordError
        If it is not on record.
    ModelError
        If it speaks for another model.
    """
    document = records.load(CommitteeDoc, committee_key(campaign, grader))
    packed = unpack_committee(records.blobs.get(document.committee))
    return packed.require_model(grader.model_sha256)


def _text(records: Records, member: MemberDoc) -> str:
    return records.blobs.get(member.model).decode()


__all__ = ["CommitteeMaker", "MemberMaker", "committee_key", "member_key", "stored_committee"]
