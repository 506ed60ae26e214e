"""Which training an iteration asks for, and the key of the model that it makes."""

import dataclasses
from dataclasses import dataclass

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.training import TrainingSettings
from nepal_flows.errors import TrainingError
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.jobs.dataset import Dataset, campaign_dataset
from nepal_flows.jobs.nep_training import NEP_TRAINER_VERSION, NepSettings, nep_settings
from nepal_flows.records import Records, derived_seed, model_key
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


@dataclass(frozen=True)
class PlannedTraining:
    """One training, its data, and the key of the model it makes.

    Attributes
    ----------
    dataset
        The labels.
    previous
        Model of the iteration before.
    fit
        What is to be done.
    key
        Of the model; that of the previous one where it already is a fit of this kind.
    """

    dataset: Dataset
    previous: TrainingDoc | None
    fit: Fit
    key: str


def planned_training(records: Records, campaign: Campaign, state: CampaignState) -> PlannedTraining:
    """Return the training that a state asks for, of the campaign's labels before its iteration.

    Raises
    ------
    TrainingError
        If no label can be trained on.
    """
    dataset = campaign_dataset(records, state.campaign_id, campaign, before=state.iteration)
    require_labels(dataset)
    previous = (
        records.load(TrainingDoc, state.previous_model_key) if state.previous_model_key else None
    )
    document = records.load(CampaignDoc, state.campaign_id)
    fit = planned_fit(campaign, state, dataset, previous, document=document)
    if previous is not None and _is_same(previous, dataset, fit):
        return PlannedTraining(dataset, previous, fit, previous.key)
    return PlannedTraining(dataset, previous, fit, _key(campaign, dataset, fit))


def _key(campaign: Campaign, dataset: Dataset, fit: Fit) -> str:
    settings = dataclasses.asdict(fit.settings)
    settings.pop("memory_limit_MB", None)  # of the machine, as threads are
    asked = {
        "nep_in": format_nep_in(nep_input_of(campaign)),
        "settings": settings,
        "reference_energies": campaign.training.reference_energies,
    }
    is_native = isinstance(fit.settings, TrainingSettings)
    return model_key(
        dataset.key,
        asked,
        seed=derived_seed(campaign.seed, "train"),
        trainer=campaign.training.trainer,
        trainer_version=TRAINER_VERSION if is_native else NEP_TRAINER_VERSION,
        initial_model_sha256=fit.parent.model_sha256 if fit.parent else None,
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


def require_labels(dataset: Dataset) -> None:
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


__all__ = [
    "TRAINER_VERSION",
    "Fit",
    "PlannedTraining",
    "planned_fit",
    "planned_training",
]
