"""Exploration: molecular dynamics of every condition with the newest model."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jobflow import job

from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.campaign.demands import demanded_criterion, demanded_sections
from nepal_flows.campaign.exploration import Condition
from nepal_flows.campaign.structures import gate_distances, starting_structure
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.structure import Structure
from nepal_flows.core.windows import count_windows
from nepal_flows.engines.exploration import ExplorationTask, run_exploration
from nepal_flows.engines.md_run import MdFrame, MdRun, MdSegment, run_without_steps
from nepal_flows.engines.pool import TaskResult, WorkerPool, shared_pool
from nepal_flows.io.frames import pack_arrays, pack_frames
from nepal_flows.io.run_in import body_steps
from nepal_flows.jobs.criteria import packed_criteria
from nepal_flows.jobs.gpus import leased_gpus
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.routing import bundles
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model, starting_structures
from nepal_flows.jobs.trajectories import (
    interrupted_runs,
    loaded_state,
    stored_state,
    trigger_of,
)
from nepal_flows.records import Records, derived_key, derived_seed, make_missing
from nepal_flows.schemas import (
    ActiveSetDoc,
    Batch,
    BlobRef,
    CampaignState,
    Cost,
    ExplorationDoc,
    Phase,
)
from nepal_flows.typing import FloatArray

PRELOAD = ("nepal_flows.engines.exploration",)
"""What a worker process imports before its first run."""


NO_CEILING = 1e9
"""Ceiling of candidates while ranks grow: grades have no scale yet, and selection looks again."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a round: a condition, a replica, its key, and the run it goes on from, if any."""

    condition: Condition
    replica: int
    key: str
    seed: int
    resumes: ExplorationDoc | None = None


@dataclass(frozen=True)
class Grader:
    """What the runs of a round go by.

    Attributes
    ----------
    key
        Of the active set, or of the model where it has none.
    model_sha256
        The model.
    is_saturated
        Whether scores have a scale yet.
    active_set
        None where the model is no NEP.
    """

    key: str
    model_sha256: str
    is_saturated: bool
    active_set: ActiveSetDoc | None = None


@dataclass
class ExploreMaker(StageMaker):
    """Run the conditions of a campaign side by side, each stored the moment it ends.

    Attributes
    ----------
    bundle_size
        Runs per job; None for all in one, which then share this machine's cores.
    """

    name: str = "explore"
    bundle_size: int | None = None

    def bundles(self, phase: Phase) -> list[list[int]]:
        """Return the runs of a round, cut into the bundles of its jobs."""
        return bundles(range(len(list(self._replicas(phase)))), self.bundle_size)

    @job(config=STAGE, output_schema=Batch)
    def make(self, state: CampaignState, active_set_key: str, runs: list[int]) -> Batch:
        """Return the keys of the bundle's ExplorationDocs.

        Parameters
        ----------
        state
            Which campaign, iteration and phase.
        active_set_key
            Grades the frames, and names the model; the model's own key where it is no NEP.
        runs
            Which runs of the round to do.
        """
        records = Records.current()
        grader = self._grader(records, active_set_key)
        planned = self._planned(records, state, active_set_key)
        wanted = {planned[number].key: planned[number] for number in runs}
        done = 0

        def explore(keys: Sequence[str]) -> None:
            nonlocal done
            missing = [wanted[key] for key in keys]
            done = max(done, len(wanted) - len(missing))
            report_progress("explore", done, len(wanted))
            for document in self._explored(records, state, grader, missing):
                records.put(document)
                done += 1
                report_progress("explore", done, len(wanted), _note(document))

        make_missing(records, ExplorationDoc, list(wanted), explore)
        return Batch(keys=list(wanted))

    def _grader(self, records: Records, key: str) -> Grader:
        """Return what the runs go by, which names the model."""
        document = records.load(ActiveSetDoc, key)
        is_saturated = all(element.is_saturated for element in document.coverage)
        return Grader(document.key, document.model_sha256, is_saturated, active_set=document)

    @property
    def _engine(self) -> str:
        return self.campaign.exploration.engine

    def _explored(
        self,
        records: Records,
        state: CampaignState,
        grader: Grader,
        runs: Sequence[PlannedRun],
    ) -> Iterator[ExplorationDoc]:
        tasks = self._tasks(records, state, grader, runs)
        for result in self._results(tasks):
            number = result.index
            yield self._document(records, state, grader, runs[number], tasks[number], result)

    def _results(self, tasks: Sequence[Any]) -> Iterator[TaskResult]:
        """Yield what came of every task: on the cores of this machine, or on its GPUs."""
        if self.campaign.exploration.engine == "native":
            pool = shared_pool(self.campaign.resources.workers, preload=PRELOAD)
            yield from pool.run(run_exploration, ((task,) for task in tasks), inline=True)
        elif tasks:
            with (
                leased_gpus(tasks[0], self.campaign.exploration.gpumd) as lease,
                WorkerPool(len(lease.gpus), preload=PRELOAD) as pool,
            ):
                arguments = ((dataclasses.replace(task, lease=lease),) for task in tasks)
                yield from pool.run(run_exploration, arguments)

    def _replicas(self, phase: Phase) -> Iterator[tuple[Condition, int]]:
        for condition in self.campaign.exploration.conditions:
            n_replicas = condition.replicas
            if phase == "confirmation":
                n_replicas = self.campaign.confirmation.replicas
            for replica in range(n_replicas):
                yield condition, replica

    def _planned(
        self, records: Records, state: CampaignState, active_set_key: str
    ) -> list[PlannedRun]:
        interrupted = interrupted_runs(records, self.campaign, state)
        asked = self._asked(state.phase)
        planned = []
        for condition, replica in self._replicas(state.phase):
            place = (state.campaign_id, state.iteration, state.phase, condition.name, replica)
            protocol = condition.model_dump(mode="json", exclude=_unset(condition))
            resumes = interrupted.get((condition.name, replica))
            parts = (active_set_key, protocol, asked, *([resumes.key] if resumes else []))
            planned.append(
                PlannedRun(
                    condition=condition,
                    replica=replica,
                    key=derived_key("exploration", *place, *parts),
                    seed=derived_seed(self.campaign.seed, *place[1:]),
                    resumes=resumes,
                )
            )
        return planned

    def _asked(self, phase: Phase) -> dict[str, Any]:
        """Return what of the campaign file, beside the condition, a run of this phase obeys."""
        exploration = demanded_sections(self.campaign, {"exploration"})["exploration"]
        del exploration["conditions"]
        asked = {**exploration, "n_audit": self.campaign.selection.audit_per_iteration}
        asked |= demanded_criterion(self.campaign)
        if phase == "confirmation":
            asked["confirmation"] = self.campaign.confirmation.model_dump(mode="json")
        return asked

    def _tasks(
        self,
        records: Records,
        state: CampaignState,
        grader: Grader,
        runs: Sequence[PlannedRun],
    ) -> Sequence[Any]:
        """Return the tasks of some runs, for a process of their own."""
        graded_by = grader.active_set
        if not runs or graded_by is None:
            return []
        structures = starting_structures(records, state.campaign_id)
        model = graded_model(records, graded_by)
        model_text = records.blobs.get(model.model).decode()
        active_set = records.blobs.get(graded_by.active_set)
        packed = packed_criteria(records, self.campaign, graded_by)
        scales = criterion_limits(self.campaign).scales
        options = self._options(structures, grader, state)
        starts = [self._start(structures, run, state.phase) for run in runs]
        return [
            ExplorationTask(
                model_text=model_text,
                active_set=active_set,
                structure=start,
                protocol=self._protocol(run.condition, state.phase),
                seed=run.seed,
                options=options | self._fewer_if_large(start),
                body=run.condition.run_in,
                posterior=packed["posterior"],
                committee=packed["committee"],
                scales=scales,
                resumed=loaded_state(records, run.resumes),
            )
            for run, start in zip(runs, starts, strict=True)
        ]

    def _fewer_if_large(self, start: Structure) -> dict[str, Any]:
        """Return how many frames of a large cell are kept: a few hold many centres."""
        carving = self.campaign.carving
        if not carving.carves(start.n_atoms):
            return {}
        most = self.campaign.exploration.candidates_per_run
        return {"n_candidates": min(carving.frames_per_run, most)}

    def _start(self, structures: Sequence[Structure], run: PlannedRun, phase: Phase) -> Structure:
        confirming = phase == "confirmation"
        return starting_structure(
            self.campaign,
            structures,
            run.condition,
            rng=np.random.default_rng(derived_seed(run.seed, "start")),
            size_factor=self.campaign.confirmation.size_factor if confirming else 1.0,
        )

    def _protocol(self, condition: Condition, phase: Phase) -> tuple[MdSegment, ...]:
        factor = self.campaign.confirmation.steps_factor if phase == "confirmation" else 1.0
        return tuple(
            MdSegment(
                ensemble=stage.ensemble,
                temperature_K=stage.temperature_K,
                n_steps=max(1, round(factor * stage.steps)),
                pressure_GPa=stage.pressure_GPa,
            )
            for stage in condition.stages
        )

    def _options(
        self, structures: Sequence[Structure], grader: Grader, state: CampaignState
    ) -> dict[str, Any]:
        section = self.campaign.exploration
        gate = PhysicsGate(
            min_distances=gate_distances(section.gate, structures, campaign=self.campaign),
            volume_ratio=section.gate.volume_ratio,
            temperature_factor=section.gate.temperature_factor,
            temperature_margin=section.gate.temperature_margin_K,
        )
        limits = criterion_limits(self.campaign)
        trigger = trigger_of(self.campaign, state)
        return ({} if trigger is None else {"trigger": trigger}) | {
            "check_interval": section.check_interval,
            "gamma_low": limits.low,
            "gamma_stop": limits.stop,
            "candidate_ceiling": limits.ceiling if grader.is_saturated else NO_CEILING,
            "n_candidates": section.candidates_per_run,
            "n_audit": self.campaign.selection.audit_per_iteration,
            "gate": gate,
            "time_step_fs": section.time_step_fs,
            "burn_in_steps": section.burn_in_steps,
            "thermostat_time_fs": section.thermostat_time_fs,
            "barostat_time_fs": section.barostat_time_fs,
            "bulk_modulus_GPa": section.bulk_modulus_GPa,
        }

    def _document(
        self,
        records: Records,
        state: CampaignState,
        grader: Grader,
        run: PlannedRun,
        task: Any,
        result: TaskResult,
    ) -> ExplorationDoc:
        md: MdRun = _died(task, result) if result.outcome == "crashed" else result.value_or_raise()
        gamma = md.trace.gamma
        limits = criterion_limits(self.campaign)
        gamma_low = limits.low
        windows = count_windows(gamma, gamma_low)
        return ExplorationDoc(
            key=run.key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            condition=run.condition.name,
            replica=run.replica,
            engine=self._engine,
            program=md.program,
            model_sha256=grader.model_sha256,
            active_set_key=None if grader.active_set is None else grader.key,
            seed=run.seed,
            is_extreme=run.condition.extreme,
            is_confirmation=state.phase == "confirmation",
            n_atoms=task.structure.n_atoms,
            requested_steps=md.requested_steps,
            finished_steps=md.finished_steps,
            first_step=0 if task.resumed is None else task.resumed.step,
            end_state=stored_state(records, md.state),
            outcome=md.outcome,
            reason=md.reason,
            n_checks=md.n_checks,
            n_exceeded_checks=md.n_exceeded_checks,
            window_checks=windows.length,
            n_windows=windows.n_windows,
            n_exceeded_windows=windows.n_exceeded,
            score=limits.score,
            gamma_low=gamma_low,
            expected_force_rmse_meV_per_A=_in_meV(md.trace.expected_rmse_eV_per_A, _rms),
            largest_bar_meV_per_A=_in_meV(md.trace.largest_bar_eV_per_A, np.max),
            gamma_max=md.gamma_max if md.n_checks else 0.0,
            gamma_quantiles=_quantiles(gamma),
            gamma_max_by_element=md.gamma_max_by_element,
            candidates=_packed(records, md.candidates),
            n_candidates=len(md.candidates),
            audit=_packed(records, md.audit),
            n_audit=len(md.audit),
            trace=records.blobs.put(pack_arrays(md.trace.as_arrays()), "trace.npz"),
            cost=Cost(
                wall_s=round(result.wall_s, 3),
                cpu_s=round(result.cpu_s, 3),
                gpu_s=round(md.gpu_s, 3),
            ),
        )


def _unset(condition: Condition) -> set[str]:
    return {"run_in"} if condition.run_in is None else set()


def _died(task: Any, result: TaskResult) -> MdRun:
    """Return what is known of a run whose process died: that it did not finish."""
    n_steps = (
        sum(segment.n_steps for segment in task.protocol)
        if task.body is None
        else body_steps(task.body)
    )
    return run_without_steps(task.structure, n_steps, outcome="crashed", reason=result.error)


def _packed(records: Records, frames: Sequence[MdFrame]) -> BlobRef | None:
    if not frames:
        return None
    content = pack_frames(
        [frame.structure for frame in frames],
        scalars={
            "step": [frame.step for frame in frames],
            "gamma": [frame.gamma for frame in frames],
        },
        arrays={"gamma": [frame.grades for frame in frames]},
    )
    return records.blobs.put(content, "frames.npz")


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _in_meV(values: FloatArray | None, one: Callable[[FloatArray], float]) -> float | None:
    """Return one number of many, in meV; None where there are none."""
    return None if values is None or len(values) == 0 else 1000.0 * float(one(values))


def _quantiles(gamma: Any) -> dict[str, float]:
    if len(gamma) == 0:
        return {}
    return {f"{share:g}": float(np.quantile(gamma, share)) for share in (0.5, 0.9, 0.99)}


def _note(document: ExplorationDoc) -> str:
    ended = "" if document.outcome == "finished" else f", {document.outcome.replace('_', ' ')}"
    return f"{document.condition} {document.replica}: gamma up to {document.gamma_max:.3g}{ended}"


__all__ = ["ExploreMaker", "PlannedRun"]
