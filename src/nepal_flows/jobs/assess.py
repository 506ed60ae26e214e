"""The verdict on an iteration: what was clean, how wrong the model was, what is missing."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.criterion import Limits, criterion_limits
from nepal_flows.campaign.demands import demanded_criterion, demanded_sections
from nepal_flows.core.calibration import GradeErrorTable, grade_error_table
from nepal_flows.core.convergence import judge_campaign
from nepal_flows.core.rounds import ConvergenceRules, RoundRecord
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.criteria import criteria_costs
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, labelled_frames, spent_before
from nepal_flows.jobs.force_bias import measured_force_bias
from nepal_flows.jobs.label_sums import labels_by_stage
from nepal_flows.jobs.model_errors import errors_by_condition, errors_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.rounds import condition_verdicts, force_error, round_record, stored_round
from nepal_flows.jobs.scored_errors import bar_warnings, error_bars, scores_and_errors
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model
from nepal_flows.jobs.timing import Stopwatch, total_cost
from nepal_flows.records import ChosenLabel, Records, derived_key
from nepal_flows.schemas import (
    ActiveSetDoc,
    Batch,
    Calibration,
    CalibrationBin,
    CampaignState,
    Certificate,
    Cost,
    Errors,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

_TO_MEV = 1000.0

NOT_COVERED = (
    "Conditions, compositions and cell shapes that the campaign file does not name.",
    "Cells larger than those of the confirmation round, and longer runs.",
    "The error of the labels themselves against experiment.",
)
"""What no certificate says."""


@dataclass(frozen=True, eq=False)
class Seen:
    """Errors of a model on the labels that are new in its round.

    Attributes
    ----------
    all, by_condition
        Errors of all of them, and condition by condition.
    """

    all: Errors | None
    by_condition: dict[str, Errors]


@dataclass
class AssessMaker(StageMaker):
    """Judge an iteration; a clean confirmation writes the certificate."""

    name: str = "assess"

    @job(config=STAGE, output_schema=IterationDoc)
    def make(
        self,
        state: CampaignState,
        active_set_key: str,
        exploration_keys: list[list[str]],
        selection_key: str,
        labels: Batch,
    ) -> IterationDoc:
        """Return the verdict on an iteration.

        Parameters
        ----------
        state
            Which campaign, iteration and phase.
        active_set_key, exploration_keys, selection_key, labels
            What the iteration made.
        """
        records = Records.current()
        key = f"{state.campaign_id}/iteration/{state.iteration}"
        found = records.find(IterationDoc, key)
        if found is not None:
            return found
        watch = Stopwatch()
        report_progress("assess", 0, 1)
        grader = records.load(ActiveSetDoc, active_set_key)
        training = graded_model(records, grader)
        runs = [records.load(ExplorationDoc, k) for bundle in exploration_keys for k in bundle]
        selection = records.load(SelectionDoc, selection_key)
        dataset = campaign_dataset(records, state.campaign_id, self.campaign)
        new = [entry for entry in (*dataset.train, *dataset.holdout) if _is_new(entry, state)]
        unseen = [*new, *(entry for entry in dataset.holdout if not _is_new(entry, state))]
        seen = _seen(records, training, new)
        limits = criterion_limits(self.campaign)
        found_errors = scores_and_errors(records, training, grader, unseen, self.campaign)
        table = None
        if found_errors is not None:
            table = grade_error_table(
                found_errors.scores, found_errors.errors, gamma_low=limits.low
            )
        bars = error_bars(found_errors)
        holdout = _holdout_errors(records, training, dataset)
        this_round = round_record(
            state.phase, runs, grader.coverage, training, seen.by_condition, holdout, len(new)
        )
        demands = demands_key(self.campaign)
        earlier = _earlier_rounds(records, state, dataset, demands)
        judgement = judge_campaign([*earlier, this_round], rules_of(self.campaign))
        verdicts = condition_verdicts(
            runs, judgement.conditions, seen.by_condition, training.training_errors_by_condition
        )
        by_stage = labels_by_stage(records, state, dataset)
        costs = _costs(records, training, grader, runs, selection, labels, watch.cost())
        costs |= criteria_costs(records, self.campaign, grader, iteration=state.iteration)
        spent = total_cost([spent_before(records, state, dataset), *costs.values()])
        document = IterationDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            phase=state.phase,
            model_key=training.key,
            model_sha256=training.model_sha256,
            active_set_key=active_set_key,
            exploration_keys=[run.key for run in runs],
            selection_key=selection_key,
            label_keys=labels.keys,
            n_labels_total=dataset.n_labels,
            n_labels_training=len(dataset.train),
            n_labels_holdout=len(dataset.holdout),
            n_labels_failed=len(dataset.quarantined),
            n_atoms_labelled=sum(e.label.n_atoms for e in (*dataset.train, *dataset.holdout)),
            conditions=verdicts,
            coverage=grader.coverage,
            training_errors=training.training_errors,
            new_label_errors=seen.all,
            holdout_errors=holdout,
            calibration=_calibration(table),
            error_bars=bars,
            checks=judgement.checks,
            reasons=[*judgement.reasons, *bar_warnings(bars)],
            is_clean=judgement.is_clean,
            n_clean_rounds=judgement.n_clean_rounds,
            is_ready_for_confirmation=judgement.next_step == "confirm",
            is_stalled=judgement.next_step == "stalled",
            demands_key=demands,
            costs=costs,
            core_hours_total=spent.cpu_s / 3600.0,
            gpu_hours_total=spent.gpu_s / 3600.0,
            core_hours_unpaid=selection.core_hours_unpaid,
            size_stage=state.size_stage,
            stage_round=state.stage_round,
            rank_gain=_rank_gain(records, state, grader),
            label_sums=by_stage.sums,
            label_costs=by_stage.costs,
            force_bias=measured_force_bias(records, training, dataset, new),
        )
        if judgement.next_step == "converged":
            certificate = _certificate(document, limits)
            document = document.model_copy(update={"certificate": certificate})
        report_progress("assess", 1, 1, _note(document))
        return records.put(document)


def demands_key(campaign: Campaign) -> str:
    """Return the key of all that a verdict answers: conditions, limits, how models and grades come.

    Rounds that answered other demands do not count towards a certificate, nor does the
    certificate itself once the campaign file demands something else.
    """
    sections = ("training", "active_set", "exploration", "convergence", "confirmation")
    demands = demanded_sections(campaign, sections) | demanded_criterion(campaign)
    return derived_key("demands", demands)


def rules_of(campaign: Campaign) -> ConvergenceRules:
    """Return the limits of convergence that a campaign file asks for."""
    section, dynamic = campaign.convergence, campaign.exploration.dynamic
    return ConvergenceRules(
        allowance=section.exceedance,
        extreme_allowance=section.exceedance_extreme,
        n_clean_rounds=section.clean_rounds,
        largest_error_ratio=section.new_label_error_ratio,
        largest_holdout_change=section.holdout_change,
        negligible_error=section.negligible_error_meV_per_A / _TO_MEV,
        # A round of dynamic training is one label; what its trajectory moved on is progress.
        n_stalled_rounds=section.stall_rounds if dynamic is None else campaign.budget.iterations,
        largest_expected_ratio=None if dynamic is None else dynamic.expected_error_ratio,
    )


def _is_new(entry: ChosenLabel, state: CampaignState) -> bool:
    return entry.iteration == state.iteration


def _seen(records: Records, training: TrainingDoc, entries: Sequence[ChosenLabel]) -> Seen:
    if not entries:
        return Seen(None, {})
    model = read_nep_txt(records.blobs.get(training.model).decode())
    frames = labelled_frames(records, tuple(entries))
    references = training.reference_energies_eV
    conditions = [entry.frame.condition for entry in entries]
    return Seen(
        all=errors_of(model, frames, references),
        by_condition=errors_by_condition(model, frames, conditions, references),
    )


def _holdout_errors(records: Records, training: TrainingDoc, dataset: Dataset) -> Errors | None:
    if not dataset.holdout:
        return None
    model = read_nep_txt(records.blobs.get(training.model).decode())
    frames = labelled_frames(records, dataset.holdout)
    return errors_of(model, frames, training.reference_energies_eV)


def _earlier_rounds(
    records: Records, state: CampaignState, dataset: Dataset, demands: str
) -> list[RoundRecord]:
    """Return the earlier rounds of equal demands, the last with its error on today's hold-out.

    The hold-out grows; only on the same frames do two errors tell what has changed.
    """
    criteria = {"campaign_id": state.campaign_id}
    earlier = [
        stored_round(document)
        for document in records.query(IterationDoc, criteria, sort={"iteration": 1})
        if document.iteration_number < state.iteration and document.demands_key in (None, demands)
    ]
    if not earlier or state.previous_model_key is None or earlier[-1].holdout_error is None:
        return earlier
    previous = records.load(TrainingDoc, state.previous_model_key)
    errors = _holdout_errors(records, previous, dataset)
    now = None if errors is None else force_error(errors)
    return [*earlier[:-1], dataclasses.replace(earlier[-1], holdout_error=now)]


def _rank_gain(records: Records, state: CampaignState, grader: ActiveSetDoc) -> float | None:
    """Return the growth of all ranks over the environments added since the last iteration."""
    if state.previous_iteration_key is None:
        return None
    before = records.load(IterationDoc, state.previous_iteration_key).coverage
    added = sum(e.n_rows for e in grader.coverage) - sum(e.n_rows for e in before)
    gained = sum(e.rank for e in grader.coverage) - sum(e.rank for e in before)
    return gained / added if added > 0 else None


def _certificate(document: IterationDoc, limits: Limits) -> Certificate:
    """Return the certificate of a clean confirmation."""
    table = document.calibration
    return Certificate(
        model_sha256=document.model_sha256,
        score=limits.score,
        gamma_low=limits.low,
        conditions=document.conditions,
        coverage=document.coverage,
        calibration=table,
        error_bars=document.error_bars,
        training_errors=document.training_errors,
        holdout_errors=document.holdout_errors,
        largest_error_called_safe_meV_per_A=(
            None if table is None else table.largest_error_called_safe_meV_per_A
        ),
        not_covered=list(NOT_COVERED),
    )


def _calibration(table: GradeErrorTable | None) -> Calibration | None:
    if table is None:
        return None
    largest = table.largest_error_called_safe
    return Calibration(
        bins=[
            CalibrationBin(
                gamma_from=row.gamma_from,
                gamma_to=row.gamma_to if np.isfinite(row.gamma_to) else None,
                n_atoms=row.n_atoms,
                force_rmse_meV_per_A=_TO_MEV * row.rmse,
                force_p99_meV_per_A=_TO_MEV * row.p99,
                force_max_meV_per_A=_TO_MEV * row.largest,
            )
            for row in table.bins
        ],
        n_atoms=table.n_atoms,
        share_called_safe=table.n_called_safe / table.n_atoms if table.n_atoms else None,
        largest_error_called_safe_meV_per_A=None if largest is None else _TO_MEV * largest,
        spearman=table.spearman,
    )


def _costs(
    records: Records,
    training: TrainingDoc,
    grader: ActiveSetDoc,
    runs: Sequence[ExplorationDoc],
    selection: SelectionDoc,
    labels: Batch,
    assessing: Cost,
) -> dict[str, Cost]:
    made = [records.load(LabelDoc, key) for key in labels.keys]
    iteration = selection.iteration
    return {
        "train": training.cost if training.iteration == iteration else Cost(),
        "active set": grader.cost if grader.iteration == iteration else Cost(),
        "explore": total_cost([run.cost for run in runs]),
        "select": selection.cost,
        "label": total_cost([label.cost for label in made]),
        "assess": assessing,
    }


def _note(document: IterationDoc) -> str:
    clean = sum(verdict.is_clean for verdict in document.conditions)
    note = f"{clean} of {len(document.conditions)} conditions clean"
    if document.holdout_errors is not None:
        note += f", hold-out {document.holdout_errors.force_rmse_meV_per_A:.1f} meV/Å"
    return note


__all__ = ["NOT_COVERED", "AssessMaker", "demands_key", "rules_of"]
