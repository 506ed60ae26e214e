"""Training: the labels so far become one model."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.training import TrainingResult, TrainingSettings, train_model
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.frames import pack_frames
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.io.nep_outputs import format_loss
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import labelled_frames
from nepal_flows.jobs.model_errors import errors_by_condition, errors_of
from nepal_flows.jobs.nep_training import NepSettings, trained_with_nep
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.jobs.training_plan import PlannedTraining, planned_training
from nepal_flows.records import Records, derived_seed, made_once
from nepal_flows.schemas import CampaignState, TrainingDoc


@dataclass(frozen=True, eq=False)
class Trained:
    """What a trainer made, whichever it was.

    Attributes
    ----------
    text
        nep.txt.
    references
        Energies per atom that were taken off, eV, by element.
    history
        loss.out.
    n_steps
        Steps or generations.
    restart, program, gpu_s
        nep.restart, the program and the time it held a GPU, s, where `nep` trained.
    """

    text: str
    references: dict[str, float]
    history: bytes
    n_steps: int
    restart: bytes | None = None
    program: str | None = None
    gpu_s: float = 0.0


@dataclass
class TrainMaker(StageMaker):
    """Train a model on the campaign's labels: short fits in the loop, the long one at its end."""

    name: str = "train"

    @job(config=STAGE, output_schema=TrainingDoc)
    def make(self, state: CampaignState, after: Any = None) -> TrainingDoc:  # noqa: ARG002
        """Return the model of the campaign's present training set.

        Parameters
        ----------
        state
            Which campaign and phase; a confirmation (or the end) asks for the long fit.
        after
            Output of a job that must have run before.

        Raises
        ------
        TrainingError
            If no label can be trained on, or the training diverges.
        """
        records = Records.current()
        plan = planned_training(records, self.campaign, state)
        return made_once(
            records, TrainingDoc, plan.key, lambda: self._trained(records, state, plan)
        )

    @property
    def _seed(self) -> int:
        return derived_seed(self.campaign.seed, "train")

    def _trained(
        self, records: Records, state: CampaignState, plan: PlannedTraining
    ) -> TrainingDoc:
        watch = Stopwatch()
        dataset, previous, fit, key = plan.dataset, plan.previous, plan.fit, plan.key
        frames = labelled_frames(records, dataset.train)
        if isinstance(fit.settings, NepSettings):
            nep_input = fit.settings.applied(nep_input_of(self.campaign))
            trained = self._by_nep(records, state, frames, fit.settings, fit.parent, key)
        else:
            nep_input = nep_input_of(self.campaign)
            trained = trained_natively(
                self.campaign,
                frames,
                fit.settings,
                initial=None if fit.parent is None else _model(records, fit.parent),
                seed=self._seed,
                stage="train",
            )
        model = read_nep_txt(trained.text)
        references = trained.references
        conditions = [entry.frame.condition for entry in dataset.train]
        n_known = 0 if previous is None else previous.n_structures
        restart = trained.restart
        document = TrainingDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=model_sha256(trained.text),
            model=records.blobs.put(trained.text.encode(), "nep.txt"),
            nep_in=records.blobs.put(format_nep_in(nep_input).encode(), "nep.in"),
            history=records.blobs.put(trained.history, "loss.out"),
            dataset=records.blobs.put(pack_frames(frames), "frames.npz"),
            dataset_key=dataset.key,
            n_structures=len(frames),
            n_new_structures=max(0, len(frames) - n_known),
            n_atoms=sum(frame.n_atoms for frame in frames),
            elements=list(model.elements),
            trainer=self.campaign.training.trainer,
            program=trained.program,
            restart=None if restart is None else records.blobs.put(restart, "nep.restart"),
            settings=dataclasses.asdict(fit.settings),
            seed=self._seed,
            stage=fit.stage,
            parent_model_sha256=fit.parent.model_sha256 if fit.parent else None,
            reference_energies_eV=dict(references),
            training_errors=errors_of(model, frames, references),
            training_errors_by_condition=errors_by_condition(model, frames, conditions, references),
            best_step=trained.n_steps,
            cost=watch.cost().model_copy(update={"gpu_s": round(trained.gpu_s, 3)}),
        )
        error = document.training_errors.force_rmse_meV_per_A or 0.0
        note = f"round {state.iteration}: {len(frames)} frames, {error:.1f} meV/Å on them"
        report_progress("train", 1, 1, note)
        return document

    def _by_nep(
        self,
        records: Records,
        state: CampaignState,
        frames: Sequence[LabelledStructure],
        settings: NepSettings,
        parent: TrainingDoc | None,
        key: str,
    ) -> Trained:
        run, references = trained_with_nep(
            records,
            self.campaign,
            frames,
            key=key,
            campaign_id=state.campaign_id,
            settings=settings,
            parent=parent,
        )
        return Trained(
            text=run.text,
            references=references,
            history=run.state.history,
            n_steps=run.state.n_generations,
            restart=run.state.restart,
            program=run.program,
            gpu_s=run.wall_s,
        )


def trained_natively(
    campaign: Campaign,
    frames: Sequence[LabelledStructure],
    settings: TrainingSettings,
    *,
    initial: NepModel | None,
    seed: int,
    stage: str,
    reference_energies: Mapping[str, float] | None = None,
) -> Trained:
    """Return what the native trainer made.

    Parameters
    ----------
    campaign
        Its architecture, reference energies and threads.
    frames, settings, initial, seed
        As :func:`train_model` takes them.
    stage
        Under which progress is told.
    reference_energies
        Energies per atom to take off, by element; those of the campaign if None.
    """
    fixed = campaign.training.reference_energies
    if reference_energies is None and fixed != "fit":
        reference_energies = fixed
    result = train_model(
        frames,
        nep_input_of(campaign).architecture,
        settings,
        initial=initial,
        reference_energies=reference_energies,
        seed=seed,
        n_threads=campaign.resources.workers,
        progress=lambda step, n_steps, _: report_progress(stage, step, n_steps),
    )
    return Trained(
        text=format_nep_txt(result.model),
        references=result.reference_energies,
        history=_history(result),
        n_steps=result.n_steps,
    )


def _model(records: Records, document: TrainingDoc) -> NepModel:
    return read_nep_txt(records.blobs.get(document.model).decode())


def _history(result: TrainingResult) -> bytes:
    return format_loss(result.history).encode()


__all__ = ["TrainMaker", "Trained", "trained_natively"]
