"""The structures that are labelled before the first model exists."""

from dataclasses import dataclass
from typing import Any

from jobflow import job

from nepal_flows.campaign.structures import seed_structures
from nepal_flows.io.frames import pack_frames
from nepal_flows.jobs.stage import STAGE, StageMaker, starting_structures
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, structure_key
from nepal_flows.schemas import SelectedFrame, SelectionDoc

SEED_CONDITION = "seed"
"""Condition under which seeds are listed."""


@dataclass
class SeedMaker(StageMaker):
    """Make the first structures to label: cells of the starting structures, strained, rattled."""

    name: str = "make seeds"

    @job(config=STAGE, output_schema=SelectionDoc)
    def make(self, campaign_id: str, after: Any = None) -> SelectionDoc:  # noqa: ARG002
        """Return the seeds as a selection whose frames are all to be trained on.

        Parameters
        ----------
        campaign_id
            Whose seeds.
        after
            Output of a job that must have run before.
        """
        records = Records.current()
        key = f"{campaign_id}/seed"
        found = records.find(SelectionDoc, key)
        if found is not None:
            return found
        watch = Stopwatch()
        seeds = seed_structures(self.campaign, starting_structures(records, campaign_id))
        structures = [seed.structure for seed in seeds]
        selected = [
            SelectedFrame(
                structure_key=structure_key(seed.structure),
                role="train",
                condition=SEED_CONDITION,
                run_key=key,
                step=0,
                gamma=0.0,
                note=seed.note,
            )
            for seed in seeds
        ]
        return records.put(
            SelectionDoc(
                key=key,
                campaign_id=campaign_id,
                model_sha256="",
                n_candidates=len(seeds),
                budget=len(seeds),
                selected=selected,
                frames=records.blobs.put(pack_frames(structures), "frames.npz"),
                cost=watch.cost(),
            )
        )


__all__ = ["SEED_CONDITION", "SeedMaker"]
