"""Exploration: dynamics of every condition with the newest force constants."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.campaign.crystal import ideal_start
from nepal_flows.engines.force_constants.exploration import CrystalTask, run_crystal
from nepal_flows.engines.pool import TaskResult, shared_pool
from nepal_flows.jobs.explore import ExploreMaker, Grader, PlannedRun
from nepal_flows.jobs.stage import starting_structures
from nepal_flows.jobs.trajectories import loaded_state
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignState, TrainingDoc

PRELOAD = ("nepal_flows.engines.force_constants.exploration",)
"""What a worker process imports before its first run."""


@dataclass
class ExploreCrystalMaker(ExploreMaker):
    """Run the conditions with force constants; what scores frames comes with them."""

    name: str = "explore"

    @property
    def _engine(self) -> str:
        return "force_constants"

    def _grader(self, records: Records, key: str) -> Grader:
        document = records.load(TrainingDoc, key)
        return Grader(document.key, document.model_sha256, is_saturated=True)

    def _results(self, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        pool = shared_pool(self.campaign.resources.workers, preload=PRELOAD)
        yield from pool.run(run_crystal, ((task,) for task in tasks), inline=True)

    def _tasks(
        self,
        records: Records,
        state: CampaignState,
        grader: Grader,
        runs: Sequence[PlannedRun],
    ) -> Sequence[Any]:
        structures = starting_structures(records, state.campaign_id)
        fit = records.blobs.get(records.load(TrainingDoc, grader.key).model)
        # What interrupted a trajectory is one frame; a larger cell is dear to label.
        options = self._options(structures, grader, state) | {"n_candidates": 1}
        scale = criterion_limits(self.campaign).scales["bayes"]
        confirming = state.phase == "confirmation"
        factor = self.campaign.confirmation.size_factor if confirming else 1.0
        return [
            CrystalTask(
                fit=fit,
                supercell=ideal_start(self.campaign, structures, run.condition, size_factor=factor),
                structure=self._start(structures, run, state.phase),
                protocol=self._protocol(run.condition, state.phase),
                seed=run.seed,
                scale=scale,
                options=options,
                resumed=loaded_state(records, run.resumes),
            )
            for run in runs
        ]


__all__ = ["ExploreCrystalMaker"]
