"""The active set of a model: what its grades are measured against."""

from dataclasses import dataclass

from jobflow import job

from nepal_flows.core.active_set import ElementActiveSet, build_active_set
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.io.asi import pack_active_set
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_key, made_once
from nepal_flows.schemas import ActiveSetDoc, ElementCoverage, TrainingDoc


@dataclass
class ActiveSetMaker(StageMaker):
    """Choose, per element, the training environments of largest volume."""

    name: str = "active set"

    @job(config=STAGE, output_schema=ActiveSetDoc)
    def make(self, training_key: str) -> ActiveSetDoc:
        """Return the active set of a model, built from its nep.txt as stored.

        Parameters
        ----------
        training_key
            The model; its training frames are the rows.
        """
        records = Records.current()
        training = records.load(TrainingDoc, training_key)
        section = self.campaign.active_set
        asked = (section.variant, section.rcond, self.campaign.convergence.rank_growth)
        key = derived_key("active_set", training_key, *asked)
        return made_once(records, ActiveSetDoc, key, lambda: self._document(records, key, training))

    def _document(self, records: Records, key: str, training: TrainingDoc) -> ActiveSetDoc:
        section = self.campaign.active_set
        watch = Stopwatch()
        report_progress("active set", 0, 1)
        model = read_nep_txt(records.blobs.get(training.model).decode())
        frames = unpack_frames(records.blobs.get(training.dataset))
        active_set = build_active_set(
            [projection_factors(model, structure) for structure in frames.structures],
            model.elements,
            variant=section.variant,
            rcond=section.rcond,
            n_last_batch=training.n_new_structures,
            max_rank_growth=self.campaign.convergence.rank_growth,
            model_sha256=training.model_sha256,
            memory_limit_MB=self.campaign.resources.memory_limit_MB,
            n_threads=self.campaign.resources.workers,
        )
        document = ActiveSetDoc(
            key=key,
            campaign_id=training.campaign_id,
            iteration=training.iteration,
            model_key=training.key,
            model_sha256=training.model_sha256,
            variant=section.variant,
            rcond=section.rcond,
            active_set=records.blobs.put(pack_active_set(active_set), "active_set.npz"),
            coverage=[_coverage(member) for member in active_set.members],
            cost=watch.cost(),
        )
        ranks = ", ".join(f"{c.element} {c.rank}/{c.n_projection}" for c in document.coverage)
        report_progress("active set", 1, 1, f"rank {ranks}")
        return document


def _coverage(member: ElementActiveSet) -> ElementCoverage:
    return ElementCoverage(
        element=member.element,
        n_rows=member.n_rows,
        n_distinct_rows=member.n_distinct_rows,
        n_projection=member.n_projection,
        rank=member.rank,
        rank_before_last_batch=member.rank_before_last_batch,
        is_saturated=member.is_saturated,
        log_determinant=member.log_determinant,
        largest_training_grade=member.largest_training_grade,
        out_of_span_scale=member.out_of_span_scale,
    )


__all__ = ["ActiveSetMaker"]
