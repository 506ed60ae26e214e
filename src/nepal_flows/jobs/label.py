"""Labelling: every selected frame becomes one stored label, or one stored reason."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Flow, OnMissing, Response, job

from nepal_flows.core.structure import Structure
from nepal_flows.engines.pool import shared_pool
from nepal_flows.errors import LabelError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.routing import routed
from nepal_flows.jobs.stage import DECIDING, STAGE, StageMaker, starting_structures
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

LABEL_BUNDLE = "label bundle"
"""Name of the jobs that share a selection's labels, for routing."""

_PRELOAD = ("nepal_flows.labelers",)


@dataclass
class LabelMaker(StageMaker):
    """Label a selection: all of it side by side here, or in bundles of one job each.

    Attributes
    ----------
    bundle_size
        Labels per job; None for all in one, which then share this machine's cores. A DFT code on a
        cluster wants 1.
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
        if self.bundle_size is None or n_frames <= self.bundle_size:
            return Response(output=self._labelled(records, selection, list(range(n_frames))))
        bundles = []
        for start in range(0, n_frames, self.bundle_size):
            bundle = self.make_bundle(
                selection_key, list(range(n_frames))[start : start + self.bundle_size]
            )
            bundle.name = LABEL_BUNDLE
            bundle.set_uuid(derived_uuid(selection_key, LABEL_BUNDLE, start))
            bundles.append(bundle)
        gather = self.gather(selection_key, [bundle.output for bundle in bundles])
        gather.set_uuid(derived_uuid(selection_key, "gather"))
        gather.update_config({"on_missing_references": OnMissing.NONE}, dynamic=False)
        flow = Flow([*bundles, gather], output=gather.output)
        return Response(replace=routed(flow, self.routes))

    @job(config=STAGE, output_schema=Batch)
    def make_bundle(self, selection_key: str, frames: list[int]) -> Batch:
        """Return the keys of the labels of some of a selection's frames."""
        records = Records.current()
        return self._labelled(records, records.load(SelectionDoc, selection_key), frames)

    @job(config=STAGE, output_schema=Batch)
    def gather(self, selection_key: str, bundles: list[Any]) -> Batch:  # noqa: ARG002
        """Return the keys of all labels of a selection that were made."""
        records = Records.current()
        selection = records.load(SelectionDoc, selection_key)
        settings = settings_key(self._labeler(records, selection.campaign_id or "").physics())
        keys = [label_key(frame.structure_key, settings) for frame in selection.selected]
        return self._checked(records, keys)

    def _must_wait(self, records: Records, selection: SelectionDoc) -> bool:
        wants_approval = self.campaign.pause_before_label and bool(selection.selected)
        return wants_approval and records.find(ApprovalDoc, selection.key) is None

    def _labeler(self, records: Records, campaign_id: str) -> Any:
        return labeler_of(self.campaign, starting_structures(records, campaign_id))

    def _labelled(self, records: Records, selection: SelectionDoc, frames: Sequence[int]) -> Batch:
        if not frames or selection.frames is None:
            return Batch(keys=[])
        labeler = self._labeler(records, selection.campaign_id or "")
        settings = settings_key(labeler.physics())
        structures = unpack_frames(records.blobs.get(selection.frames)).structures
        wanted = {label_key(selection.selected[i].structure_key, settings): i for i in frames}

        def make(keys: Sequence[str]) -> None:
            missing = [wanted[key] for key in keys]
            self._make_labels(records, selection, labeler, missing, structures, len(wanted))

        make_missing(records, LabelDoc, list(wanted), make)
        return self._checked(records, list(wanted))

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

        label_structures(
            labeler,
            [structures[i] for i in missing],
            pool=shared_pool(self.campaign.resources.workers, preload=_PRELOAD),
            time_limit_s=section.time_limit_s,
            retries=section.retries,
            gate=build_gate(section),
            scratch=Path.cwd() / "scratch",
            on_done=store,
        )

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


__all__ = ["LABEL_BUNDLE", "LabelMaker"]
