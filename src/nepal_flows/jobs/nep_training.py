"""A training of a campaign by GPUMD's `nep`, and the checkpoints that outlive the machine."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import fit_reference_energies, reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.gpumd.training import (
    Foundation,
    NepSetup,
    NepState,
    NepTrainingRun,
    run_nep_training,
)
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.progress import report_progress
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc, CheckpointDoc, TrainingDoc
from nepal_flows.settings import read_settings

logger = logging.getLogger(__name__)

NEP_TRAINER_VERSION = "1"
"""Rises when equal input no longer gives models of equal standing."""


@dataclass(frozen=True)
class NepSettings:
    """Numbers of one training with `nep`.

    Attributes
    ----------
    generation
        Generations; everything else is in the campaign's nep.in.
    foundation
        SHA-256 of the foundation model's nep.txt and nep.restart, or empty.
    """

    generation: int
    foundation: tuple[str, ...] = ()

    def applied(self, nep_input: NepInput) -> NepInput:
        """Return the nep.in with these numbers."""
        return dataclasses.replace(nep_input, generation=self.generation)


def nep_settings(campaign: Campaign, document: CampaignDoc, *, stage: str) -> NepSettings:
    """Return the numbers of a training.

    Parameters
    ----------
    campaign, document
        The campaign, and what is stored of it.
    stage
        ``cold``, ``warm`` or ``final``.
    """
    section = campaign.training.nep
    generations = {
        "cold": section.generations,
        "warm": section.warm_generations,
        "final": section.final_generations,
    }
    return NepSettings(
        generation=generations[stage],
        foundation=tuple(blob.sha256 for blob in document.foundation),
    )


def trained_with_nep(
    records: Records,
    campaign: Campaign,
    frames: Sequence[LabelledStructure],
    *,
    key: str,
    campaign_id: str,
    settings: NepSettings,
    parent: TrainingDoc | None,
) -> tuple[NepTrainingRun, dict[str, float]]:
    """Train, and return the run and the reference energies that were taken off.

    Parameters
    ----------
    records, campaign, campaign_id
        Where things are.
    frames
        Training frames as labelled.
    key
        Of the model: its checkpoints have it, too.
    settings
        Numbers of the training.
    parent
        Model to go on from; it has a nep.restart.

    Raises
    ------
    TrainingError, EngineError
        As :func:`nepal_flows.engines.gpumd.training.run_nep_training`.
    """
    site = read_settings()
    section = campaign.training.nep
    nep_input = settings.applied(nep_input_of(campaign))
    foundation = _foundation(records, settings) if parent is None else None
    references = _references(campaign, frames, foundation)
    scratch = site.scratch_directory

    def keep(state: NepState) -> None:
        try:
            _store_checkpoint(records, state, key, campaign_id)
        except Exception as error:  # a store that is away for a minute must not end a long training
            logger.warning("The state of the training cannot be kept at present: %s", error)

    run = run_nep_training(
        nep_input,
        [_relative(frame, references) for frame in frames],
        setup=NepSetup(
            command=site.nep_command,
            scratch=None if scratch is None else str(scratch.expanduser()),
            time_limit_s=section.time_limit_s,
            checkpoint_interval_s=section.checkpoint_interval_s,
        ),
        parent=None if parent is None else _parent_state(records, parent),
        foundation=foundation,
        checkpoint=_checkpoint(records, key, settings.generation),
        keep=keep,
        progress=lambda done, asked: report_progress("train", done, asked),
    )
    records.remove(CheckpointDoc, key)
    return run, references


def _store_checkpoint(records: Records, state: NepState, key: str, campaign_id: str) -> None:
    records.replace(
        CheckpointDoc(
            key=key,
            campaign_id=campaign_id,
            model=records.blobs.put(state.model, "nep.txt"),
            restart=records.blobs.put(state.restart, "nep.restart"),
            history=records.blobs.put(state.history, "loss.out"),
            n_generations=state.n_generations,
        )
    )


def _checkpoint(records: Records, key: str, n_asked: int) -> NepState | None:
    """Return the state of this training when it was interrupted; None if it was not."""
    found = records.find(CheckpointDoc, key)
    if found is None or not 0 < found.n_generations < n_asked:
        return None
    return NepState(
        model=records.blobs.get(found.model),
        restart=records.blobs.get(found.restart),
        history=records.blobs.get(found.history),
        n_generations=found.n_generations,
    )


def _parent_state(records: Records, parent: TrainingDoc) -> NepState:
    assert parent.restart is not None
    return NepState(records.blobs.get(parent.model), records.blobs.get(parent.restart))


def _foundation(records: Records, settings: NepSettings) -> Foundation | None:
    if not settings.foundation:
        return None
    model, restart = (records.blobs.get(sha256) for sha256 in settings.foundation)
    return Foundation(model, restart)


def _references(
    campaign: Campaign, frames: Sequence[LabelledStructure], foundation: Foundation | None
) -> dict[str, float]:
    """Return the energies to take off: of a fine-tuning, what the foundation model leaves over."""
    fixed = campaign.training.reference_energies
    if fixed != "fit":
        return dict(fixed)
    elements = [str(symbol) for symbol in campaign.model.elements]
    if foundation is None:
        return fit_reference_energies(frames, elements)
    model = read_nep_txt(foundation.model.decode("ascii"))
    predicted = predict_many(model, [frame.structure for frame in frames])
    left_over = [
        dataclasses.replace(frame, energy=frame.energy - prediction.energy)
        for frame, prediction in zip(frames, predicted, strict=True)
    ]
    return fit_reference_energies(left_over, elements)


def _relative(frame: LabelledStructure, references: dict[str, float]) -> LabelledStructure:
    energy = frame.energy - reference_energy(frame.structure, references)
    return dataclasses.replace(frame, energy=energy)


__all__ = ["NEP_TRAINER_VERSION", "NepSettings", "nep_settings", "trained_with_nep"]
