"""The test of a model against fresh trajectories of a cheap teacher."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import job

from nepal_flows.campaign.exploration import TeacherRun, ValidationSection
from nepal_flows.campaign.structures import validation_structure
from nepal_flows.core.structure import Structure
from nepal_flows.engines.pool import TaskResult, shared_pool
from nepal_flows.errors import CampaignError
from nepal_flows.io.frames import pack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.jobs.model_errors import errors_by_condition, errors_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, starting_structures
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.labelers import AseLabeler
from nepal_flows.labelers.teacher import run_teacher
from nepal_flows.records import Records, derived_key, derived_seed, made_once
from nepal_flows.schemas import CampaignState, TrainingDoc, ValidationDoc


@dataclass
class ValidateMaker(StageMaker):
    """Compare the delivered model with trajectories that no training has seen."""

    name: str = "validate"

    @job(config=STAGE, output_schema=ValidationDoc)
    def make(self, state: CampaignState, training_key: str) -> ValidationDoc:
        """Return the errors of a model on the teacher's own trajectories.

        Parameters
        ----------
        state
            Which campaign.
        training_key
            The model.

        Raises
        ------
        CampaignError
            If there is no validation section, or the labeler is too dear to drive trajectories.
        """
        records = Records.current()
        section = self.campaign.validation
        structures = starting_structures(records, state.campaign_id)
        labeler = labeler_of(self.campaign, structures)
        if section is None or not isinstance(labeler, AseLabeler):
            raise CampaignError(
                "`validation` drives trajectories with the labeler, which `labels.code: "
                f"{self.campaign.labels.code}` is too slow for. Remove the section."
            )
        key = derived_key("validation", training_key, section.model_dump(mode="json"))
        training = records.load(TrainingDoc, training_key)

        def compare() -> ValidationDoc:
            watch = Stopwatch()
            results = self._trajectories(section, labeler, structures)
            document = self._document(records, key, state, training, section, results)
            return document.model_copy(
                update={"cost": watch.cost(worker_cpu_s=sum(result.cpu_s for result in results))}
            )

        return made_once(records, ValidationDoc, key, compare)

    def _document(
        self,
        records: Records,
        key: str,
        state: CampaignState,
        training: TrainingDoc,
        section: ValidationSection,
        results: Sequence[TaskResult],
    ) -> ValidationDoc:
        frames = [frame for result in results for frame in result.value_or_raise()]
        names = [
            run.name
            for run, result in zip(section.runs, results, strict=True)
            for _ in result.value
        ]
        model = read_nep_txt(records.blobs.get(training.model).decode())
        references = training.reference_energies_eV
        errors = errors_of(model, frames, references)
        report_progress("validate", 1, 1, f"{errors.force_rmse_meV_per_A:.1f} meV/Å over all")
        return ValidationDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=training.model_sha256,
            seed=section.seed,
            errors=errors,
            errors_by_condition=errors_by_condition(model, frames, names, references),
            limits_meV_per_A=_limits(section),
            parity=records.blobs.put(
                pack_frames(frames, scalars={"condition": names}), "frames.npz"
            ),
        )

    def _trajectories(
        self, section: ValidationSection, labeler: AseLabeler, structures: Sequence[Structure]
    ) -> list[TaskResult]:
        """Return the trajectories in the order of the section, run side by side."""
        tasks = []
        for run in section.runs:
            seed = derived_seed("validation", section.seed, run.name)
            start = validation_structure(self.campaign, structures, rng=np.random.default_rng(seed))
            tasks.append((labeler, start, _options(section, run, seed)))
        pool = shared_pool(
            self.campaign.resources.workers, preload=("nepal_flows.labelers.teacher",)
        )
        report_progress("validate", 0, len(tasks))
        results = []
        for result in pool.run(run_teacher, tasks):
            results.append(result)
            report_progress("validate", len(results), len(tasks), section.runs[result.index].name)
        return sorted(results, key=lambda result: result.index)


def _options(section: ValidationSection, run: TeacherRun, seed: int) -> dict[str, Any]:
    return {
        "temperature_K": run.temperature_K,
        "n_frames": run.frames,
        "interval_steps": run.interval_steps,
        "seed": seed,
        "equilibration_steps": run.equilibration_steps,
        "melt_temperature_K": run.melt_temperature_K,
        "melt_steps": run.melt_steps,
        "pressure_GPa": run.pressure_GPa,
        "time_step_fs": section.time_step_fs,
    }


def _limits(section: ValidationSection) -> dict[str, float]:
    """Return the errors that count as reached, by trajectory, and over ``all``."""
    limits = {run.name: run.limit_meV_per_A for run in section.runs}
    limits["all"] = section.limit_meV_per_A
    return {name: limit for name, limit in limits.items() if limit is not None}


__all__ = ["ValidateMaker"]
