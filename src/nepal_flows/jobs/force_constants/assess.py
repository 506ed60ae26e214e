"""The verdict on an iteration with force constants: trajectories, errors, bars, what is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jobflow import job

from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.core.convergence import judge_campaign
from nepal_flows.core.scoring import BarScore, scored_bars
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.force_constants.crystal import CrystalFit, site_force
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.assess import NOT_COVERED, demands_key, rules_of
from nepal_flows.jobs.dataset import campaign_dataset, labelled_frames, spent_before
from nepal_flows.jobs.force_constants.fit import fit_errors, fit_errors_by_condition, stored_fit
from nepal_flows.jobs.label_sums import labels_by_stage
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.rounds import condition_verdicts, round_record, stored_round
from nepal_flows.jobs.scored_errors import ScoresAndErrors, bar_warnings, error_bars
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch, total_cost
from nepal_flows.records import Records
from nepal_flows.schemas import (
    Batch,
    CampaignState,
    Certificate,
    Cost,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

_TO_MEV = 1000.0

OF_A_CRYSTAL = (
    "Other volumes, diffusion, defects and melting: force constants describe displacements.",
    "Terms of higher order and of longer range than the expansion has.",
)
"""What no certificate of force constants says."""


@dataclass
class AssessCrystalMaker(StageMaker):
    """Judge an iteration; a clean confirmation writes the certificate."""

    name: str = "assess"

    @job(config=STAGE, output_schema=IterationDoc)
    def make(
        self,
        state: CampaignState,
        training_key: str,
        exploration_keys: list[list[str]],
        selection_key: str,
        labels: Batch,
    ) -> IterationDoc:
        """Return the verdict on an iteration.

        Parameters
        ----------
        state
            Which campaign, iteration and phase.
        training_key, exploration_keys, selection_key, labels
            What the iteration made.
        """
        records = Records.current()
        key = f"{state.campaign_id}/iteration/{state.iteration}"
        found = records.find(IterationDoc, key)
        if found is not None:
            return found
        watch = Stopwatch()
        report_progress("assess", 0, 1)
        training = records.load(TrainingDoc, training_key)
        runs = [records.load(ExplorationDoc, k) for bundle in exploration_keys for k in bundle]
        selection = records.load(SelectionDoc, selection_key)
        dataset = campaign_dataset(records, state.campaign_id, self.campaign)
        fit = stored_fit(records, training, self.campaign, state.campaign_id)
        entries = (*dataset.train, *dataset.holdout)
        new = [entry for entry in entries if entry.iteration == state.iteration]
        frames = labelled_frames(records, tuple(new))
        held = labelled_frames(records, dataset.holdout)
        trained = unpack_frames(records.blobs.get(training.dataset)).labelled
        by_condition = fit_errors_by_condition(fit, frames, [e.frame.condition for e in new])
        holdout = fit_errors(fit, held) if held else None
        bars = error_bars(self._scored(fit, frames or held))
        demands = demands_key(self.campaign)
        this_round = round_record(
            state.phase, runs, training.coverage, training, by_condition, holdout, len(new)
        )
        earlier = [
            stored_round(document)
            for document in records.query(
                IterationDoc, {"campaign_id": state.campaign_id}, sort={"iteration": 1}
            )
            if document.iteration_number < state.iteration and document.demands_key == demands
        ]
        judgement = judge_campaign([*earlier, this_round], rules_of(self.campaign))
        by_stage = labels_by_stage(records, state, dataset)
        costs = {
            "train": training.cost if training.iteration == state.iteration else Cost(),
            "explore": total_cost([run.cost for run in runs]),
            "select": selection.cost,
            "label": total_cost([records.load(LabelDoc, k).cost for k in labels.keys]),
            "assess": watch.cost(),
        }
        spent = total_cost([spent_before(records, state, dataset), *costs.values()])
        document = IterationDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            phase=state.phase,
            model_key=training.key,
            model_sha256=training.model_sha256,
            exploration_keys=[run.key for run in runs],
            selection_key=selection_key,
            label_keys=labels.keys,
            n_labels_total=dataset.n_labels,
            n_labels_training=len(dataset.train),
            n_labels_holdout=len(dataset.holdout),
            n_labels_failed=len(dataset.quarantined),
            n_atoms_labelled=sum(entry.label.n_atoms for entry in entries),
            conditions=condition_verdicts(
                runs, judgement.conditions, by_condition, training.training_errors_by_condition
            ),
            coverage=training.coverage,
            training_errors=training.training_errors,
            new_label_errors=fit_errors(fit, frames) if frames else None,
            holdout_errors=holdout,
            error_bars=bars,
            checks=judgement.checks,
            reasons=[*judgement.reasons, *bar_warnings(bars), *site_warnings(fit, trained)],
            is_clean=judgement.is_clean,
            n_clean_rounds=judgement.n_clean_rounds,
            is_ready_for_confirmation=judgement.next_step == "confirm",
            is_stalled=judgement.next_step == "stalled",
            demands_key=demands,
            costs=costs,
            core_hours_total=spent.cpu_s / 3600.0,
            gpu_hours_total=spent.gpu_s / 3600.0,
            core_hours_unpaid=selection.core_hours_unpaid,
            label_sums=by_stage.sums,
            label_costs=by_stage.costs,
        )
        if judgement.next_step == "converged":
            certificate = self._certificate(document)
            document = document.model_copy(update={"certificate": certificate})
        report_progress("assess", 1, 1, _note(document))
        return records.put(document)

    def _scored(
        self, fit: CrystalFit, frames: Sequence[LabelledStructure]
    ) -> ScoresAndErrors | None:
        """Return bars beside true errors of frames that the model has not seen."""
        if not frames:
            return None
        scale = criterion_limits(self.campaign).scales["bayes"]
        bars = [
            scored_bars([BarScore(fit.at(frame.structure), scale)], frame.structure)
            for frame in frames
        ]
        errors = [fit.forces(frame.structure) - frame.forces for frame in frames]
        return ScoresAndErrors(
            scores=np.concatenate([bar.ratios for bar in bars]),
            errors=np.concatenate(errors),
            bars=np.concatenate([bar.forces for bar in bars]),
        )

    def _certificate(self, document: IterationDoc) -> Certificate:
        limits = criterion_limits(self.campaign)
        return Certificate(
            model_sha256=document.model_sha256,
            score=limits.score,
            gamma_low=limits.low,
            conditions=document.conditions,
            coverage=document.coverage,
            error_bars=document.error_bars,
            training_errors=document.training_errors,
            holdout_errors=document.holdout_errors,
            not_covered=[*OF_A_CRYSTAL, *NOT_COVERED],
        )


def site_warnings(fit: CrystalFit, frames: Sequence[LabelledStructure]) -> list[str]:
    """Return that sites are not those of rest, in a sentence, if they are not."""
    found = site_force(fit, frames)
    if not found.is_there:
        return []
    return [
        f"Atoms on their sites feel {_TO_MEV * found.largest:.0f} meV/Å, which force constants "
        "cannot hold: relax the starting structure with the labels' settings, and begin again."
    ]


def _note(document: IterationDoc) -> str:
    clean = sum(verdict.is_clean for verdict in document.conditions)
    note = f"{clean} of {len(document.conditions)} conditions clean"
    bars = [v.expected_force_rmse_meV_per_A for v in document.conditions]
    largest = max((bar for bar in bars if bar is not None), default=None)
    return note if largest is None else f"{note}, bars expect {largest:.1f} meV/Å"


__all__ = ["OF_A_CRYSTAL", "AssessCrystalMaker", "site_warnings"]
