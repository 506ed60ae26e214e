"""Selection: which of the frames that exploration met are labelled."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import job

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.campaign.demands import demanded_sections
from nepal_flows.campaign.label_costs import LabelCosts, affordable
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import ProjectionFactors, projection_factors
from nepal_flows.core.selection import Decision, Selection, select_frames
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import forceless_sites, primitive_cell
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.jobs.criteria import Grader, criteria_costs, score_pool, stored_grader
from nepal_flows.jobs.dataset import Dataset, campaign_dataset, spent_before
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model, starting_structures
from nepal_flows.jobs.timing import Stopwatch, total_cost
from nepal_flows.records import Records, derived_key, derived_seed, made_once, structure_key
from nepal_flows.schemas import (
    ActiveSetDoc,
    BlobRef,
    CampaignState,
    CarvingRoundDoc,
    Cost,
    ExplorationDoc,
    SelectedFrame,
    SelectionDoc,
)
from nepal_flows.typing import BoolArray

AUDIT_CEILING = 10.0
"""Audit frames are drawn where the grade is below so many times ``gamma_low``.

A frame of a run that went astray would stay in the hold-out set for good and hide what matters.
"""


LARGEST_HOLDOUT = 0.25
"""In the loop no more is held out than this share of what is trained on; a confirmation always
draws its audit frames, for they are what its errors rest on."""


@dataclass(frozen=True, eq=False)
class Found:
    """A frame that exploration met."""

    structure: Structure
    run: ExplorationDoc
    step: int
    gamma: float
    kept: BoolArray | None = None
    """Of a fragment, the atoms whose environments are the parent's; None for whole frames."""


@dataclass
class SelectMaker(StageMaker):
    """Choose the frames to label: the best of the candidates, and a few at random as hold-out."""

    name: str = "select"

    @job(config=STAGE, output_schema=SelectionDoc)
    def make(
        self,
        state: CampaignState,
        active_set_key: str,
        exploration_keys: list[list[str]],
        carving_key: str | None = None,
    ) -> SelectionDoc:
        """Return what is to be labelled, and why the rest is not.

        Parameters
        ----------
        state
            Which campaign and iteration.
        active_set_key
            Active set that graded the runs.
        exploration_keys
            Keys of the runs, bundle by bundle.
        carving_key
            Key of the CarvingRoundDoc, whose fragments stand for the frames of large cells.
        """
        records = Records.current()
        keys = [key for bundle in exploration_keys for key in bundle]
        budget = self.campaign.budget
        selection = demanded_sections(self.campaign, {"selection"})["selection"]
        asked: tuple[Any, ...] = (selection, budget.labels)
        asked += (budget.core_hours,) if budget.core_hours is not None else ()
        carving = None if carving_key is None else records.load(CarvingRoundDoc, carving_key)
        if carving is not None and carving.run_keys:
            asked += (carving.key,)
        key = derived_key("selection", state.campaign_id, state.iteration, keys, *asked)
        return made_once(
            records,
            SelectionDoc,
            key,
            lambda: self._document(records, key, state, active_set_key, keys, carving),
        )

    def _document(
        self,
        records: Records,
        key: str,
        state: CampaignState,
        active_set_key: str,
        run_keys: Sequence[str],
        carving: CarvingRoundDoc | None,
    ) -> SelectionDoc:
        watch = Stopwatch()
        report_progress("select", 0, 1)
        runs = [records.load(ExplorationDoc, run) for run in run_keys]
        grader_doc = records.load(ActiveSetDoc, active_set_key)
        dataset = campaign_dataset(records, state.campaign_id, self.campaign)
        grader = stored_grader(records, grader_doc, self.campaign)
        met = _Met(records, runs, carving)
        candidates = felt_frames(met.candidates, self.campaign.selection.max_forceless_share)
        n_forceless = len(met.candidates) - len(candidates)
        budget = max(0, self.campaign.budget.labels - dataset.n_labels)
        n_wanted = min(self.campaign.selection.labels_per_iteration, budget)
        selection = self._selected(records, dataset, grader, candidates, state.iteration, n_wanted)
        chosen = [candidates[index] for index in selection.selected]
        audit = self._audit(state, dataset, met.audit, chosen, budget - len(chosen))
        entries = [
            _entry(frame, "train", selection.decisions[index])
            for frame, index in zip(chosen, selection.selected, strict=True)
        ] + [_entry(frame, "holdout", None) for frame in audit]
        made = _made_for(records, self.campaign, grader_doc, runs, state.iteration)
        spent = total_cost([spent_before(records, state, dataset), *made])
        n_paid, unpaid = self._paid(records, state, dataset, spent, [*chosen, *audit])
        frames, selected = [*chosen, *audit][:n_paid], entries[:n_paid]
        report_progress("select", 1, 1, _note(candidates, chosen, audit))
        return SelectionDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=grader_doc.model_sha256,
            n_candidates=len(met.candidates),
            budget=n_wanted,
            selected=selected,
            refused=selection.refused | ({"forceless": n_forceless} if n_forceless else {}),
            core_hours_unpaid=unpaid,
            decisions=_decisions(records, candidates, selection),
            frames=records.blobs.put(
                pack_frames([frame.structure for frame in frames]), "frames.npz"
            ),
            largest_remaining_grade=selection.largest_remaining_grade,
            cost=watch.cost(),
        )

    def _selected(
        self,
        records: Records,
        dataset: Dataset,
        grader: Grader,
        candidates: Sequence[Found],
        iteration: int,
        n_wanted: int,
    ) -> Selection:
        limits = criterion_limits(self.campaign)
        factors = [_factors(grader.model, frame) for frame in candidates]
        structures = [frame.structure for frame in candidates]
        scores = score_pool(self.campaign, grader, structures, factors)
        # made in this iteration by a selection that a change of the campaign file replaced
        late = [entry for entry in dataset.train if entry.iteration == iteration]
        known = [
            unpack_frames(records.blobs.get(entry.label.frame)).structures[0]
            for entry in (*dataset.holdout, *dataset.quarantined, *late)
        ]
        return select_frames(
            grader.active_set,
            grader.training,
            factors,
            budget=n_wanted,
            threshold=limits.threshold,
            ceiling=limits.ceiling,
            also_labelled=[projection_factors(grader.model, s) for s in known],
            duplicate_tolerance=self.campaign.selection.duplicate_tolerance,
            # A committee does not learn while it chooses: it would take one event many times.
            method="farthest" if "committee" in limits.scales else "greedy",
            scores=scores,
            memory_limit_MB=self.campaign.resources.memory_limit_MB,
            n_threads=self.campaign.resources.workers,
        )

    def _audit(
        self,
        state: CampaignState,
        dataset: Dataset,
        offered: Sequence[Found],
        chosen: Sequence[Found],
        budget: int,
    ) -> list[Found]:
        """Return frames drawn at random, no condition twice before each had its turn."""
        known = {entry.label.structure_key for entry in (*dataset.train, *dataset.holdout)}
        known |= {structure_key(frame.structure) for frame in chosen}
        ceiling = AUDIT_CEILING * criterion_limits(self.campaign).low
        pool = [
            frame
            for frame in offered
            if frame.gamma < ceiling
            and structure_key(frame.structure) not in known
            and not any(self._is_close(frame, other) for other in chosen)
        ]
        rng = np.random.default_rng(derived_seed(self.campaign.seed, "audit", state.iteration))
        by_condition: dict[str, list[Found]] = {}
        for index in rng.permutation(len(pool)):
            by_condition.setdefault(pool[index].run.condition, []).append(pool[index])
        names = [str(name) for name in rng.permutation(sorted(by_condition))]
        turns = max((len(frames) for frames in by_condition.values()), default=0)
        drawn = [
            by_condition[name][turn]
            for turn in range(turns)
            for name in names
            if turn < len(by_condition[name])
        ]
        wanted = min(self.campaign.selection.audit_per_iteration, budget)
        if state.phase == "loop":
            enough = math.ceil(LARGEST_HOLDOUT * (len(dataset.train) + len(chosen)))
            wanted = min(wanted, enough - len(dataset.holdout))
        return drawn[: max(0, wanted)]

    def _paid(
        self,
        records: Records,
        state: CampaignState,
        dataset: Dataset,
        spent: Cost,
        frames: Sequence[Found],
    ) -> tuple[int, float]:
        """Return how many labels the core-hours are expected to pay, and hours of the others."""
        hours = self.campaign.budget.core_hours
        if hours is None:
            return len(frames), 0.0
        unit = primitive_cell(starting_structures(records, state.campaign_id)[0])
        known = [entry.label for entry in (*dataset.train, *dataset.holdout)]
        expected = LabelCosts(self.campaign, unit.n_atoms).learnt(known)
        costs = [expected.cpu_s(frame.structure) for frame in frames]
        n_paid = affordable(costs, 3600.0 * hours - spent.cpu_s)
        return n_paid, sum(costs[n_paid:]) / 3600.0

    def _is_close(self, frame: Found, other: Found) -> bool:
        """Return whether two frames of one run lie within one decorrelated window."""
        window = frame.run.window_checks * self.campaign.exploration.check_interval
        return frame.run.key == other.run.key and abs(frame.step - other.step) <= window


def _made_for(
    records: Records,
    campaign: Campaign,
    grader: ActiveSetDoc,
    runs: Sequence[ExplorationDoc],
    iteration: int,
) -> list[Cost]:
    """Return what this iteration took until now: its model, what grades by it, and its runs."""
    models = (graded_model(records, grader), grader)
    made = [document.cost for document in models if document.iteration == iteration]
    made += criteria_costs(records, campaign, grader, iteration=iteration).values()
    return [*made, *(run.cost for run in runs)]


def felt_frames(frames: Sequence[Found], max_share: float) -> list[Found]:
    """Return the frames of whose atoms no more than a share is without force by symmetry."""
    if max_share >= 1.0:
        return list(frames)
    return [f for f in frames if forceless_sites(f.structure).mean() <= max_share]


def _frames(records: Records, runs: Sequence[ExplorationDoc], name: str) -> list[Found]:
    found = []
    for run in runs:
        reference: BlobRef | None = getattr(run, name)
        if reference is None:
            continue
        frames = unpack_frames(records.blobs.get(reference))
        for index, structure in enumerate(frames.structures):
            step, gamma = frames.scalars["step"][index], frames.scalars["gamma"][index]
            found.append(Found(structure, run, int(step), float(gamma)))
    return found


class _Met:
    """What exploration met: frames of small cells, fragments of large ones."""

    def __init__(
        self,
        records: Records,
        runs: Sequence[ExplorationDoc],
        carving: CarvingRoundDoc | None,
    ) -> None:
        carved = set() if carving is None else set(carving.run_keys)
        whole = [run for run in runs if run.key not in carved]
        self.candidates = _frames(records, whole, "candidates")
        self.audit = _frames(records, whole, "audit")
        if carving is None or carving.fragments is None:
            return
        by_key = {run.key: run for run in runs}
        frames = unpack_frames(records.blobs.get(carving.fragments))
        for k, structure in enumerate(frames.structures):
            run, step = by_key[str(frames.scalars["run"][k])], int(frames.scalars["step"][k])
            gamma = float(frames.scalars["gamma"][k])
            same = frames.arrays["gamma"][k] <= 1.05 * np.maximum(
                1.0, frames.arrays["gamma_parent"][k]
            )
            kept = frames.arrays["is_core"][k].astype(np.bool_) & same
            found = Found(structure, run, step, gamma, kept)
            (self.audit if frames.scalars["audit"][k] else self.candidates).append(found)


def _factors(model: NepModel, frame: Found) -> ProjectionFactors:
    """Return what a candidate is chosen for: of a fragment, only what it kept of its parent."""
    own = projection_factors(model, frame.structure)
    if frame.kept is None:
        return own
    kept = frame.kept
    return ProjectionFactors(own.types[kept], own.y[kept], own.v[kept], own.t[kept])


def _entry(frame: Found, role: str, decision: Decision | None) -> SelectedFrame:
    note = "drawn at random" if decision is None else decision.detail
    if frame.kept is not None:
        note += f"; a fragment of {frame.structure.n_atoms} atoms out of {frame.run.n_atoms}"
    return SelectedFrame.model_validate(
        {
            "structure_key": structure_key(frame.structure),
            "role": role,
            "condition": frame.run.condition,
            "run_key": frame.run.key,
            "step": frame.step,
            "gamma": frame.gamma,
            "gamma_when_chosen": None if decision is None else decision.grade_at_decision,
            "note": note,
        }
    )


def _decisions(records: Records, candidates: Sequence[Found], selection: Selection) -> BlobRef:
    rows = [
        {
            "condition": frame.run.condition,
            "replica": frame.run.replica,
            "step": frame.step,
            "reason": decision.reason,
            "grade": decision.grade,
            "grade_at_decision": decision.grade_at_decision,
            "element": decision.element,
            "detail": decision.detail,
        }
        for frame, decision in zip(candidates, selection.decisions, strict=True)
    ]
    return records.blobs.put(json.dumps(rows, indent=1).encode(), "decisions.json")


def _note(candidates: Sequence[Found], chosen: Sequence[Found], audit: Sequence[Found]) -> str:
    return f"{len(chosen)} of {len(candidates)} candidates, {len(audit)} at random"


__all__ = ["AUDIT_CEILING", "Found", "SelectMaker", "felt_frames"]
