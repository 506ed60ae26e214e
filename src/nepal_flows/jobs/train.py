"""Training: the labels so far become one model."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.training import TrainingResult, TrainingSettings, train_model
from nepal_flows.errors import TrainingError
from nepal_flows.io.frames import pack_frames
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.io.nep_outputs import format_loss
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, labelled_frames
from nepal_flows.jobs.model_errors import errors_by_condition, errors_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_seed, made_once, model_key
from nepal_flows.schemas import CampaignState, TrainingDoc

TRAINER = "native"
TRAINER_VERSION = "2"
"""Rises when equal input no longer gives an equal model."""


@dataclass(frozen=True)
class Fit:
    """What one training is to do.

    Attributes
    ----------
    settings
        Numbers of the trainer.
    stage
        ``loop`` for the short fits, ``final`` for the long one.
    parent
        Model it starts from, or None for a cold start.
    """

    settings: TrainingSettings
    stage: str
    parent: TrainingDoc | None


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
        fit = planned_fit(self.campaign, state, dataset, previous)
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
        del settings["memory_limit_MB"]  # of the machine, as threads are
        asked = {
            "nep_in": format_nep_in(nep_input_of(self.campaign)),
            "settings": settings,
            "reference_energies": self.campaign.training.reference_energies,
        }
        return model_key(
            dataset.key,
            asked,
            seed=self._seed,
            trainer=TRAINER,
            trainer_version=TRAINER_VERSION,
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
        fixed = self.campaign.training.reference_energies
        result = train_model(
            frames,
            nep_input_of(self.campaign).architecture,
            fit.settings,
            initial=None if fit.parent is None else _model(records, fit.parent),
            reference_energies=None if fixed == "fit" else fixed,
            seed=self._seed,
            n_threads=self.campaign.resources.workers,
            progress=lambda step, n_steps, _: report_progress("train", step, n_steps),
        )
        text = format_nep_txt(result.model)
        model = read_nep_txt(text)
        references = result.reference_energies
        conditions = [entry.frame.condition for entry in dataset.train]
        n_known = 0 if previous is None else previous.n_structures
        document = TrainingDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=model_sha256(text),
            model=records.blobs.put(text.encode(), "nep.txt"),
            nep_in=records.blobs.put(format_nep_in(nep_input_of(self.campaign)).encode(), "nep.in"),
            history=records.blobs.put(_history(result), "loss.out"),
            dataset=records.blobs.put(pack_frames(frames), "frames.npz"),
            dataset_key=dataset.key,
            n_structures=len(frames),
            n_new_structures=max(0, len(frames) - n_known),
            n_atoms=sum(frame.n_atoms for frame in frames),
            elements=list(model.elements),
            trainer=TRAINER,
            settings=dataclasses.asdict(fit.settings),
            seed=self._seed,
            stage=fit.stage,
            parent_model_sha256=fit.parent.model_sha256 if fit.parent else None,
            reference_energies_eV=dict(references),
            training_errors=errors_of(model, frames, references),
            training_errors_by_condition=errors_by_condition(model, frames, conditions, references),
            best_step=result.n_steps,
            cost=watch.cost(),
        )
        error = document.training_errors.force_rmse_meV_per_A or 0.0
        note = f"round {state.iteration}: {len(frames)} frames, {error:.1f} meV/Å on them"
        report_progress("train", 1, 1, note)
        return document


def planned_fit(
    campaign: Campaign,
    state: CampaignState,
    dataset: Dataset,
    previous: TrainingDoc | None,
) -> Fit:
    """Return the training that a state asks for: long or short, cold or warm.

    In the loop ``warm_start: auto`` starts warm once the set grows by no more than
    ``warm_growth``; from a handful of labels a warm start is worse than a cold one. The long fit
    goes on from the last model: measured, a chain of warm fits ends lower than one cold fit.
    """
    section = campaign.training
    common = TrainingSettings(
        learning_rate=section.learning_rate,
        warm_learning_rate=section.warm_learning_rate,
        batch_atoms=section.batch_atoms,
        lambda_e=section.lambda_e,
        lambda_f=section.lambda_f,
        lambda_v=section.lambda_v,
        weight_decay=section.weight_decay,
        memory_limit_MB=campaign.resources.memory_limit_MB,
    )
    may_warm = previous is not None and section.warm_start != "never"
    if state.phase == "confirmation":
        steps = (section.final_adam_steps, section.final_lbfgs_steps)
        return Fit(_with_steps(common, *steps), "final", previous if may_warm else None)
    if previous is not None and may_warm:
        growth = len(dataset.train) / previous.n_structures - 1.0
        if section.warm_start == "always" or growth <= section.warm_growth:
            steps = (section.warm_adam_steps, section.warm_lbfgs_steps)
            return Fit(_with_steps(common, *steps), "loop", previous)
    return Fit(_with_steps(common, section.adam_steps, section.lbfgs_steps), "loop", None)


def _with_steps(settings: TrainingSettings, n_adam: int, n_lbfgs: int) -> TrainingSettings:
    return dataclasses.replace(settings, n_adam_steps=n_adam, n_lbfgs_steps=n_lbfgs)


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


__all__ = ["TRAINER", "TRAINER_VERSION", "Fit", "TrainMaker", "planned_fit"]
