"""Training: the labels so far become one model."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.training import TrainingResult, TrainingSettings, train_model
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import TrainingError
from nepal_flows.io.frames import pack_frames
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.io.nep_outputs import format_loss
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, labelled_frames
from nepal_flows.jobs.model_errors import errors_by_condition, errors_of
from nepal_flows.jobs.nep_training import (
    NEP_TRAINER_VERSION,
    NepSettings,
    nep_settings,
    trained_with_nep,
)
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_seed, made_once, model_key
from nepal_flows.schemas import CampaignDoc, CampaignState, TrainingDoc

TRAINER_VERSION = "2"
"""Of the native trainer; rises when equal input no longer gives an equal model."""


@dataclass(frozen=True)
class Fit:
    """What one training is to do.

    Attributes
    ----------
    settings
        Numbers of the trainer, native or `nep`.
    stage
        ``loop`` for the short fits, ``final`` for the long one.
    parent
        Model it starts from, or None for a cold start.
    """

    settings: TrainingSettings | NepSettings
    stage: str
    parent: TrainingDoc | None


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
        dataset = campaign_dataset(
            records, state.campaign_id, self.campaign, before=state.iteration
        )
        _require_labels(dataset)
        previous = (
            records.load(TrainingDoc, state.previous_model_key)
            if state.previous_model_key
            else None
        )
        document = records.load(CampaignDoc, state.campaign_id)
        fit = planned_fit(self.campaign, state, dataset, previous, document=document)
        key = self._key(dataset, fit)
        if previous is not None and _is_same(previous, dataset, fit):
            return previous
        return made_once(
            records,
            TrainingDoc,
            key,
            lambda: self._trained(records, state, dataset, previous, fit, key),
        )

    def _key(self, dataset: Dataset, fit: Fit) -> str:
        settings = dataclasses.asdict(fit.settings)
        settings.pop("memory_limit_MB", None)  # of the machine, as threads are
        asked = {
            "nep_in": format_nep_in(nep_input_of(self.campaign)),
            "settings": settings,
            "reference_energies": self.campaign.training.reference_energies,
        }
        is_native = isinstance(fit.settings, TrainingSettings)
        return model_key(
            dataset.key,
            asked,
            seed=self._seed,
            trainer=self.campaign.training.trainer,
            trainer_version=TRAINER_VERSION if is_native else NEP_TRAINER_VERSION,
            initial_model_sha256=fit.parent.model_sha256 if fit.parent else None,
        )

    @property
    def _seed(self) -> int:
        return derived_seed(self.campaign.seed, "train")

    def _trained(
        self,
        records: Records,
        state: CampaignState,
        dataset: Dataset,
        previous: TrainingDoc | None,
        fit: Fit,
        key: str,
    ) -> TrainingDoc:
        watch = Stopwatch()
        frames = labelled_frames(records, dataset.train)
        if isinstance(fit.settings, NepSettings):
            nep_input = fit.settings.applied(nep_input_of(self.campaign))
            trained = self._by_nep(records, state, frames, fit.settings, fit.parent, key)
        else:
            nep_input = nep_input_of(self.campaign)
            trained = self._natively(records, frames, fit.settings, fit.parent)
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

    def _natively(
        self,
        records: Records,
        frames: Sequence[LabelledStructure],
        settings: TrainingSettings,
        parent: TrainingDoc | None,
    ) -> Trained:
        fixed = self.campaign.training.reference_energies
        result = train_model(
            frames,
            nep_input_of(self.campaign).architecture,
            settings,
            initial=None if parent is None else _model(records, parent),
            reference_energies=None if fixed == "fit" else fixed,
            seed=self._seed,
            n_threads=self.campaign.resources.workers,
            progress=lambda step, n_steps, _: report_progress("train", step, n_steps),
        )
        return Trained(
            text=format_nep_txt(result.model),
            references=result.reference_energies,
            history=_history(result),
            n_steps=result.n_steps,
        )

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


def planned_fit(
    campaign: Campaign,
    state: CampaignState,
    dataset: Dataset,
    previous: TrainingDoc | None,
    *,
    document: CampaignDoc | None = None,
) -> Fit:
    """Return the training that a state asks for: long or short, cold or warm.

    In the loop ``warm_start: auto`` starts warm once the set grows by no more than
    ``warm_growth``; from a handful of labels a warm start is worse than a cold one. The long fit
    goes on from the last model: measured, a chain of warm fits ends lower than one cold fit.
    `nep` goes on from a model that it has trained itself; another is no start for it.
    """
    section = campaign.training
    by_nep = section.trainer == "nep"
    parent = previous if section.warm_start != "never" else None
    if parent is not None and by_nep and parent.restart is None:
        parent = None
    stage = "cold"
    if state.phase == "confirmation":
        stage = "final"
    elif parent is not None:
        growth = len(dataset.train) / parent.n_structures - 1.0
        if section.warm_start == "always" or growth <= section.warm_growth:
            stage = "warm"
    if by_nep:
        assert document is not None
        settings: TrainingSettings | NepSettings = nep_settings(campaign, document, stage=stage)
    else:
        settings = _native_settings(campaign, stage)
    return Fit(
        settings,
        "final" if stage == "final" else "loop",
        None if stage == "cold" else parent,
    )


def _native_settings(campaign: Campaign, stage: str) -> TrainingSettings:
    section = campaign.training
    n_adam, n_lbfgs = {
        "cold": (section.adam_steps, section.lbfgs_steps),
        "warm": (section.warm_adam_steps, section.warm_lbfgs_steps),
        "final": (section.final_adam_steps, section.final_lbfgs_steps),
    }[stage]
    return TrainingSettings(
        n_adam_steps=n_adam,
        n_lbfgs_steps=n_lbfgs,
        learning_rate=section.learning_rate,
        warm_learning_rate=section.warm_learning_rate,
        batch_atoms=section.batch_atoms,
        lambda_e=section.lambda_e,
        lambda_f=section.lambda_f,
        lambda_v=section.lambda_v,
        weight_decay=section.weight_decay,
        memory_limit_MB=campaign.resources.memory_limit_MB,
    )


def _is_same(previous: TrainingDoc, dataset: Dataset, fit: Fit) -> bool:
    """Return whether the previous model already is a fit of this kind to these labels."""
    if previous.dataset_key != dataset.key:
        return False
    return previous.stage == "final" or fit.stage == "loop"


def _require_labels(dataset: Dataset) -> None:
    if dataset.train:
        return
    if not dataset.quarantined:
        raise TrainingError(
            "The campaign has no label to train on: nothing was imported, and there are no seeds. "
            "Import labelled frames with `nepal import TRAIN.xyz`, or raise `seeds.n`."
        )
    reasons = sorted({entry.label.reason or "unknown" for entry in dataset.quarantined})
    raise TrainingError(
        f"The campaign has no label to train on. All of them failed: {'; '.join(reasons[:3])}. "
        "Correct the `labels` section and run again with `--retry-failed`."
    )


def _model(records: Records, document: TrainingDoc) -> NepModel:
    return read_nep_txt(records.blobs.get(document.model).decode())


def _history(result: TrainingResult) -> bytes:
    return format_loss(result.history).encode()


__all__ = ["TRAINER_VERSION", "Fit", "TrainMaker", "Trained", "planned_fit"]
