"""The labels so far become force constants, by one linear solve."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import job

from nepal_flows.campaign.crystal import crystal_of
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.force_constants.crystal import (
    CrystalFit,
    fit_crystal,
    pack_fit,
    unpack_fit,
)
from nepal_flows.engines.force_constants.model import unpacked
from nepal_flows.io.frames import pack_frames
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, labelled_frames
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, starting_structures
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.jobs.training_plan import require_labels
from nepal_flows.records import Records, dataset_key, made_once, model_key
from nepal_flows.schemas import (
    CampaignState,
    ElementCoverage,
    Errors,
    IterationDoc,
    TrainingDoc,
)

TRAINER = "force_constants"
TRAINER_VERSION = "1"
"""Rises when equal labels no longer give equal force constants."""

N_CALIBRATING = 5
"""Rounds with new labels that bars are calibrated on."""

_TO_MEV = 1000.0


@dataclass
class FitCrystalMaker(StageMaker):
    """Fit force constants, with their errors, to the campaign's labels."""

    name: str = "train"

    @job(config=STAGE, output_schema=TrainingDoc)
    def make(self, state: CampaignState, after: Any = None) -> TrainingDoc:  # noqa: ARG002
        """Return the force constants of the campaign's present training set.

        Parameters
        ----------
        state
            Which campaign.
        after
            Output of a job that must have run before.

        Raises
        ------
        TrainingError
            If no label can be fitted to.
        InputError
            If a frame is none of the crystal's supercells with atoms displaced.
        """
        records = Records.current()
        dataset = campaign_dataset(
            records, state.campaign_id, self.campaign, before=state.iteration
        )
        require_labels(dataset)
        section = self.campaign.model.force_constants
        assert section is not None
        asked = {
            "cutoffs_A": list(section.cutoffs_A),
            "calibration": bar_calibration(records, state),
        }
        key = model_key(
            dataset.key,
            asked,
            seed=0,
            trainer=TRAINER,
            trainer_version=TRAINER_VERSION,
        )
        return made_once(
            records, TrainingDoc, key, lambda: self._document(records, state, dataset, key, asked)
        )

    def _document(
        self,
        records: Records,
        state: CampaignState,
        dataset: Dataset,
        key: str,
        asked: dict[str, Any],
    ) -> TrainingDoc:
        watch = Stopwatch()
        frames = labelled_frames(records, dataset.train)
        report_progress("train", 0, 1)
        crystal = crystal_of(self.campaign, starting_structures(records, state.campaign_id))
        previous = None
        if state.previous_model_key is not None:
            previous = records.load(TrainingDoc, state.previous_model_key)
        n_known = 0 if previous is None else previous.n_structures
        before = None
        if previous is not None and _begins_with(dataset, previous):
            before = unpack_fit(records.blobs.get(previous.model))
        fit = fit_crystal(
            crystal, frames, before=before, n_known=n_known, calibration=asked["calibration"]
        )
        content = pack_fit(fit)
        conditions = [entry.frame.condition for entry in dataset.train]
        document = TrainingDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=hashlib.sha256(content).hexdigest(),
            model=records.blobs.put(content, "force_constants.npz"),
            dataset=records.blobs.put(pack_frames(frames), "frames.npz"),
            dataset_key=dataset.key,
            n_structures=len(frames),
            n_new_structures=max(0, len(frames) - n_known),
            n_atoms=sum(frame.n_atoms for frame in frames),
            elements=list(self.campaign.model.elements),
            trainer=TRAINER,
            settings=asked,
            seed=0,
            reference_energies_eV=dict.fromkeys(self.campaign.model.elements, fit.energy_per_atom),
            training_errors=fit_errors(fit, frames),
            training_errors_by_condition=fit_errors_by_condition(fit, frames, conditions),
            coverage=self._coverage(fit, frames, previous),
            cost=watch.cost(),
        )
        error = document.training_errors.force_rmse_meV_per_A or 0.0
        note = f"round {state.iteration}: {len(frames)} frames, {error:.1f} meV/Å on them"
        report_progress("train", 1, 1, note)
        return document

    def _coverage(
        self, fit: CrystalFit, frames: Sequence[LabelledStructure], previous: TrainingDoc | None
    ) -> list[ElementCoverage]:
        """Return how many parameters of every order the labels determine."""
        sizes = np.bincount(fit.at(frames[0].structure).basis.groups)
        before = {part.element: part.rank for part in previous.coverage} if previous else {}
        parts = []
        for order, (size, determined) in enumerate(
            zip(sizes.tolist(), fit.posterior.determined.tolist(), strict=True), start=2
        ):
            name, rank = f"order {order}", round(determined)
            known = before.get(name)
            growth = self.campaign.convergence.rank_growth
            parts.append(
                ElementCoverage(
                    element=name,
                    n_rows=fit.posterior.n_rows,
                    n_distinct_rows=fit.posterior.n_rows,
                    n_projection=size,
                    rank=rank,
                    rank_before_last_batch=known,
                    is_saturated=rank == size
                    or (known is not None and rank - known <= max(growth * size, 1.0)),
                    largest_training_grade=1.0,
                )
            )
        return parts


def bar_calibration(records: Records, state: CampaignState) -> float:
    """Return the factor that makes bars right on the last labels, before they were fitted to.

    What an expansion leaves out shows in its residuals only where displacements are large, so bars
    of a fit to smaller ones are too small; every new label says by how much. At least 1.
    """
    criteria = {"campaign_id": state.campaign_id}
    factors = [
        document.error_bars.factor
        * float(records.load(TrainingDoc, document.model_key).settings["calibration"])
        for document in records.query(IterationDoc, criteria, sort={"iteration": 1})
        if document.iteration_number < state.iteration
        and document.error_bars is not None
        and document.new_label_errors is not None
    ]
    recent = factors[-N_CALIBRATING:]
    return max(1.0, float(np.sqrt(np.mean(np.square(recent))))) if recent else 1.0


def _begins_with(dataset: Dataset, previous: TrainingDoc) -> bool:
    """Return whether the first frames are those that a model was fitted to, in their order."""
    keys = [entry.label.key for entry in dataset.train[: previous.n_structures]]
    return dataset_key(keys) == previous.dataset_key


def stored_fit(
    records: Records, training: TrainingDoc, campaign: Any, campaign_id: str
) -> CrystalFit:
    """Return the force constants of a document, in all supercells of its campaign."""
    crystal = crystal_of(campaign, starting_structures(records, campaign_id))
    content = records.blobs.get(training.model)
    return unpack_fit(content, [unpacked(cell) for cell in crystal.supercells])


def fit_errors(fit: CrystalFit, frames: Sequence[LabelledStructure]) -> Errors:
    """Return the errors of force constants on frames."""
    forces = [np.asarray(frame.forces) for frame in frames]
    differences = [
        fit.forces(frame.structure) - own for frame, own in zip(frames, forces, strict=True)
    ]
    energies = np.array([(fit.energy(f.structure) - f.energy) / f.n_atoms for f in frames])
    every, reference = np.concatenate(differences), np.concatenate(forces)
    return Errors(
        n_structures=len(frames),
        n_atoms=len(every),
        energy_rmse_meV_per_atom=_TO_MEV * float(np.sqrt(np.mean(energies**2))),
        force_rmse_meV_per_A=_TO_MEV * float(np.sqrt(np.mean(every**2))),
        force_max_meV_per_A=_TO_MEV * float(np.linalg.norm(every, axis=1).max()),
        reference_force_rms_meV_per_A=_TO_MEV * float(np.sqrt(np.mean(reference**2))),
    )


def fit_errors_by_condition(
    fit: CrystalFit, frames: Sequence[LabelledStructure], conditions: Sequence[str]
) -> dict[str, Errors]:
    """Return the errors on the frames of every condition."""
    grouped: dict[str, list[LabelledStructure]] = {}
    for frame, condition in zip(frames, conditions, strict=True):
        grouped.setdefault(condition, []).append(frame)
    return {name: fit_errors(fit, group) for name, group in sorted(grouped.items())}


__all__ = ["FitCrystalMaker", "fit_errors", "fit_errors_by_condition", "stored_fit"]
