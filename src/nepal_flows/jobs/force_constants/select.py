"""Selection: the frames that interrupted trajectories, within the budget, and audit frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jobflow import job

from nepal_flows.campaign.label_costs import LabelCosts, affordable
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.jobs.dataset import campaign_dataset, spent_before
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, starting_structures
from nepal_flows.jobs.timing import Stopwatch, total_cost
from nepal_flows.records import Records, derived_key, made_once, structure_key
from nepal_flows.schemas import (
    BlobRef,
    CampaignState,
    Cost,
    ExplorationDoc,
    Role,
    SelectedFrame,
    SelectionDoc,
    TrainingDoc,
)


@dataclass(frozen=True, eq=False)
class Met:
    """A frame that a trajectory met."""

    structure: Structure
    entry: SelectedFrame


@dataclass
class SelectCrystalMaker(StageMaker):
    """Choose what interrupted the trajectories; frames at random are held out."""

    name: str = "select"

    @job(config=STAGE, output_schema=SelectionDoc)
    def make(
        self, state: CampaignState, training_key: str, exploration_keys: list[list[str]]
    ) -> SelectionDoc:
        """Return what is to be labelled, and why the rest is not.

        Parameters
        ----------
        state
            Which campaign and iteration.
        training_key
            Model of the runs.
        exploration_keys
            Keys of the runs, bundle by bundle.
        """
        records = Records.current()
        keys = [key for bundle in exploration_keys for key in bundle]
        budget, n_audit = self.campaign.budget, self.campaign.selection.audit_per_iteration
        asked = (budget.labels, budget.core_hours, n_audit)
        place = (state.campaign_id, state.iteration, training_key, keys)
        key = derived_key("selection", *place, *asked)
        return made_once(
            records,
            SelectionDoc,
            key,
            lambda: self._document(records, state, training_key, keys, key),
        )

    def _document(
        self,
        records: Records,
        state: CampaignState,
        training_key: str,
        run_keys: Sequence[str],
        key: str,
    ) -> SelectionDoc:
        watch = Stopwatch()
        report_progress("select", 0, 1)
        runs = [records.load(ExplorationDoc, run) for run in run_keys]
        dataset = campaign_dataset(records, state.campaign_id, self.campaign)
        met = [frame for run in runs for frame in _frames(records, run, run.candidates, "train")]
        audit = [frame for run in runs for frame in _frames(records, run, run.audit, "holdout")]
        done = (*dataset.train, *dataset.holdout, *dataset.quarantined)
        labelled = {entry.label.structure_key for entry in done}
        fresh = [frame for frame in met if frame.entry.structure_key not in labelled]
        known = labelled | {frame.entry.structure_key for frame in fresh}
        held = [frame for frame in audit if frame.entry.structure_key not in known]
        wanted = [*fresh, *held[: self.campaign.selection.audit_per_iteration]]
        budget = max(0, self.campaign.budget.labels - dataset.n_labels)
        chosen = wanted[:budget]
        n_paid, unpaid = len(chosen), 0.0
        if self.campaign.budget.core_hours is not None:
            training = records.load(TrainingDoc, training_key)
            trained = training.cost if training.iteration == state.iteration else Cost()
            before = spent_before(records, state, dataset)
            spent = total_cost([before, trained, *(run.cost for run in runs)])
            unit = primitive_cell(starting_structures(records, state.campaign_id)[0])
            costs = LabelCosts(self.campaign, unit.n_atoms).learnt([e.label for e in done])
            seconds = [costs.cpu_s(frame.structure) for frame in chosen]
            left = 3600.0 * self.campaign.budget.core_hours - spent.cpu_s
            n_paid = affordable(seconds, left)
            unpaid = sum(seconds[n_paid:]) / 3600.0
        chosen = chosen[:n_paid]
        refused = {"already labelled": len(met) - len(fresh), "budget": len(wanted) - len(chosen)}
        report_progress("select", 1, 1, f"{len(chosen)} of {len(met)} frames that interrupted")
        return SelectionDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=runs[0].model_sha256,
            n_candidates=len(met),
            budget=budget,
            selected=[frame.entry for frame in chosen],
            refused={reason: number for reason, number in refused.items() if number},
            core_hours_unpaid=unpaid,
            frames=records.blobs.put(pack_frames([f.structure for f in chosen]), "frames.npz"),
            cost=watch.cost(),
        )


def _frames(
    records: Records, run: ExplorationDoc, blob: BlobRef | None, role: Role
) -> Iterator[Met]:
    if blob is None:
        return
    frames = unpack_frames(records.blobs.get(blob))
    for index, structure in enumerate(frames.structures):
        yield Met(
            structure,
            SelectedFrame(
                structure_key=structure_key(structure),
                role=role,
                condition=run.condition,
                run_key=run.key,
                step=int(frames.scalars["step"][index]),
                gamma=float(frames.scalars["gamma"][index]),
                note=run.reason if role == "train" else "drawn at random",
            ),
        )


__all__ = ["SelectCrystalMaker"]
