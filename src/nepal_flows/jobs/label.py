"""Labelling: every selected frame becomes one stored label, or one stored reason."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import CURRENT_JOB, Flow, OnMissing, Response, job

from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import campaign_labeler, label_pool
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.routing import LABEL_BUNDLE, bundles, routed
from nepal_flows.jobs.stage import DECIDING, STAGE, StageMaker
from nepal_flows.labelers import LabelOutcome, build_gate, label_document, label_structures
from nepal_flows.records import Records, derived_uuid, label_key, make_missing, settings_key
from nepal_flows.schemas import (
    Ancestry,
    ApprovalDoc,
    Batch,
    LabelDoc,
    SelectedFrame,
    SelectionDoc,
)

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""How often labels whose jobs died are given to new jobs, the first time included."""

_PRELOAD = ("nepal_flows.labelers",)


@dataclass
class LabelMaker(StageMaker):
    """Label a selection: all of it side by side here, or in bundles of one job each.

    Attributes
    ----------
    bundle_size
        Labels per job of their own, which may run on another worker; None for all of them in this
        one, which then share this machine's cores. A DFT code on a cluster wants 1.
    routes
        Worker by job name, for the bundles; see :func:`routed`.
    """

    name: str = "label"
    bundle_size: int | None = None
    routes: dict[str, str] = field(default_factory=dict)

    @job(config=DECIDING)
    def make(self, selection_key: str) -> Response[Batch]:
        """Return the keys of a selection's labels, in its order.

        Labels that exist are not made again. With ``pause_before_label`` the flow stops here until
        a person has approved the selection.

        Parameters
        ----------
        selection_key
            What to label.

        Raises
        ------
        LabelError
            If more labels failed, or were never made, than ``labels.max_failed_fraction`` allows.
        """
        records = Records.current()
        selection = records.load(SelectionDoc, selection_key)
        if self._must_wait(records, selection):
            return Response(stop_jobflow=True, output=Batch(keys=[]))
        n_frames = len(selection.selected)
        if self.bundle_size is None:
            return self._answer(records, self._labelled(selection, list(range(n_frames))))
        return self._bundled(records, selection, attempt=1)

    @job(config=STAGE, output_schema=Batch)
    def make_bundle(self, selection_key: str, frames: list[int]) -> Batch:
        """Return the keys of the labels of some of a selection's frames, failed ones too."""
        selection = Records.current().load(SelectionDoc, selection_key)
        return Batch(keys=self._labelled(selection, frames))

    @job(config=DECIDING)
    def gather(
        self,
        selection_key: str,
        attempt: int,
        bundles: list[Any],  # noqa: ARG002 - what must have run before, or died
    ) -> Response[Batch]:
        """Return the keys of all labels of a selection; those whose jobs died get new jobs.

        Parameters
        ----------
        selection_key
            Of which selection.
        attempt
            How many times jobs were made for its labels.
        bundles
            Outputs of these jobs, None of those that died.
        """
        records = Records.current()
        return self._bundled(records, records.load(SelectionDoc, selection_key), attempt + 1)

    def _bundled(self, records: Records, selection: SelectionDoc, attempt: int) -> Response[Batch]:
        """Return jobs for the labels that are not there, or the keys of all once there is none.

        The gathering job takes the place of the one that runs (its uuid, the next index).
        """
        _, settings = self._labeler(records, selection.campaign_id or "")
        keys = [label_key(frame.structure_key, settings) for frame in selection.selected]
        missing = [i for i, key in enumerate(keys) if records.find(LabelDoc, key) is None]
        if not missing or attempt > MOST_ATTEMPTS:
            return self._answer(records, keys)
        jobs = []
        for frames in bundles(missing, self.bundle_size):
            bundle = self.make_bundle(selection.key, frames)
            bundle.name = LABEL_BUNDLE
            bundle.set_uuid(derived_uuid(selection.key, LABEL_BUNDLE, attempt, frames[0]))
            jobs.append(bundle)
        gather = self.gather(selection.key, attempt, [bundle.output for bundle in jobs])
        gather.name = "gather labels"
        gather.set_uuid(CURRENT_JOB.job.uuid)
        gather.index = CURRENT_JOB.job.index + 1
        gather.update_config({"on_missing_references": OnMissing.NONE}, dynamic=False)
        return Response(replace=routed(Flow([*jobs, gather]), self.routes))

    def _must_wait(self, records: Records, selection: SelectionDoc) -> bool:
        wants_approval = self.campaign.pause_before_label and bool(selection.selected)
        return wants_approval and records.find(ApprovalDoc, selection.key) is None

    def _labeler(self, records: Records, campaign_id: str) -> tuple[Any, str]:
        return campaign_labeler(records, self.campaign, campaign_id)

    def _labelled(self, selection: SelectionDoc, frames: Sequence[int]) -> list[str]:
        """Return the keys of labels, of which all that were missing have been made or tried."""
        if not frames or selection.frames is None:
            return []
        records = Records.current()
        labeler, settings = self._labeler(records, selection.campaign_id or "")
        structures = unpack_frames(records.blobs.get(selection.frames)).structures
        wanted = {label_key(selection.selected[i].structure_key, settings): i for i in frames}

        def make(keys: Sequence[str]) -> None:
            missing = [wanted[key] for key in keys]
            self._make_labels(records, selection, labeler, missing, structures, len(wanted))

        make_missing(records, LabelDoc, list(wanted), make)
        return list(wanted)

    def _make_labels(
        self,
        records: Records,
        selection: SelectionDoc,
        labeler: Any,
        missing: Sequence[int],
        structures: Sequence[Structure],
        n_wanted: int,
    ) -> None:
        section = self.campaign.labels
        done = n_wanted - len(missing)
        versions: list[str] = []
        report_progress("label", done, n_wanted)

        def store(outcome: LabelOutcome) -> None:
            nonlocal done
            chosen = selection.selected[missing[outcome.index]]
            records.put(
                label_document(
                    outcome,
                    labeler=labeler,
                    ancestry=_ancestry(selection, chosen),
                    blobs=records.blobs,
                    role=chosen.role,
                    campaign_id=selection.campaign_id,
                    iteration=selection.iteration,
                )
            )
            done += 1
            report_progress(
                "label", done, n_wanted, f"failed: {outcome.reason}" if outcome.reason else ""
            )
            if outcome.version is not None and outcome.version not in versions:
                versions.append(outcome.version)
                _warn_of_version(records, labeler, outcome.version)

        label_structures(
            labeler,
            [structures[i] for i in missing],
            pool=label_pool(self.campaign, preload=_PRELOAD),
            time_limit_s=section.time_limit_s,
            retries=section.retries,
            gate=build_gate(section),
            scratch=Path.cwd() / "scratch",
            on_done=store,
        )

    def _answer(self, records: Records, keys: Sequence[str]) -> Response[Batch]:
        """Return the keys of all labels as this job's output, which those behind it read.

        They read the one of the highest index: a campaign that was resumed may have come further
        before, in jobs whose labels died, than it comes now.
        """
        later = {"uuid": CURRENT_JOB.job.uuid, "index": {"$gt": CURRENT_JOB.job.index}}
        CURRENT_JOB.store.remove_docs(later)
        return Response(output=self._checked(records, keys))

    def _checked(self, records: Records, keys: Sequence[str]) -> Batch:
        labels = [records.load(LabelDoc, key) for key in keys if records.find(LabelDoc, key)]
        failed = [label for label in labels if label.status != "done"]
        n_lost = len(keys) - len(labels)  # a job that died leaves no document
        n_failed = len(failed) + n_lost
        if n_failed > 1 and n_failed > self.campaign.labels.max_failed_fraction * len(keys):
            reasons = sorted({label.reason or "unknown" for label in failed})
            reasons = [f"the jobs of {n_lost} died"] * bool(n_lost) + reasons
            raise LabelError(
                f"{n_failed} of {len(keys)} labels failed, more than "
                f"`labels.max_failed_fraction` = {self.campaign.labels.max_failed_fraction:g} "
                f"allows: {'; '.join(reasons[:3])}. Correct the cause and run again with "
                "`--retry-failed`."
            )
        return Batch(keys=[label.key for label in labels], n_failed=len(failed))


def _warn_of_version(records: Records, labeler: Any, version: str) -> None:
    """Warn where labels of the same physics were made by another version of the code."""
    other = {
        "settings_key": settings_key(labeler.physics()),
        "status": "done",
        "labeler_version": {"$nin": [version, None]},
    }
    found = next(records.rows(LabelDoc, other, ["labeler_version"], limit=1), None)
    if found is not None:
        logger.warning(
            "Labels of this campaign were made by %s, these are by %s. Run `nepal check-labels "
            "--versions`: it makes one label again and compares.",
            found["labeler_version"],
            version,
        )


def _ancestry(selection: SelectionDoc, chosen: SelectedFrame) -> Ancestry:
    from_md = bool(selection.model_sha256)
    return Ancestry(
        source="exploration" if from_md else "seed",
        condition=chosen.condition,
        run_key=chosen.run_key if from_md else None,
        step=chosen.step if from_md else None,
        gamma=chosen.gamma if from_md else None,
        model_sha256=selection.model_sha256 or None,
        note=chosen.note,
    )


__all__ = ["LabelMaker"]
