"""The labelled frames of a campaign, in the order in which they were chosen."""

from dataclasses import dataclass

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import campaign_labeler
from nepal_flows.jobs.timing import total_cost
from nepal_flows.records import ChosenLabel, Records, chosen_labels, dataset_key
from nepal_flows.schemas import CampaignState, Cost, IterationDoc


@dataclass(frozen=True)
class Dataset:
    """The usable labels of a campaign, split by role, with the failed ones counted."""

    train: tuple[ChosenLabel, ...]
    holdout: tuple[ChosenLabel, ...]
    quarantined: tuple[ChosenLabel, ...]

    @property
    def key(self) -> str:
        """Hash of the ordered training labels."""
        return dataset_key([entry.label.key for entry in self.train])

    @property
    def n_labels(self) -> int:
        """Every label asked for, failures too."""
        return len(self.train) + len(self.holdout) + len(self.quarantined)


def campaign_dataset(
    records: Records, campaign_id: str, campaign: Campaign, *, before: int | None = None
) -> Dataset:
    """Return the campaign's labels; see :func:`chosen_labels`.

    Raises
    ------
    LabelError
        If the labels section means another physics here than where the campaign was started.
    """
    _, settings = campaign_labeler(records, campaign, campaign_id)
    entries = chosen_labels(records, campaign_id, settings, before=before)
    done = [entry for entry in entries if entry.label.status == "done"]
    return Dataset(
        train=tuple(entry for entry in done if entry.frame.role == "train"),
        holdout=tuple(entry for entry in done if entry.frame.role == "holdout"),
        quarantined=tuple(entry for entry in entries if entry.label.status != "done"),
    )


def spent_before(records: Records, state: CampaignState, dataset: Dataset) -> Cost:
    """Return what a campaign had spent before an iteration: earlier ones, or its seeds' labels."""
    if state.previous_iteration_key is not None:
        document = records.load(IterationDoc, state.previous_iteration_key)
        return Cost(
            cpu_s=3600.0 * document.core_hours_total, gpu_s=3600.0 * document.gpu_hours_total
        )
    own = (None, state.campaign_id)
    entries = (*dataset.train, *dataset.holdout, *dataset.quarantined)
    seeds = [
        entry.label.cost
        for entry in entries
        if entry.iteration is None and entry.label.campaign_id in own
    ]
    return total_cost(seeds)


def labelled_frames(records: Records, entries: tuple[ChosenLabel, ...]) -> list[LabelledStructure]:
    """Return the frames of the entries with their energies, forces and virials."""
    return [unpack_frames(records.blobs.get(entry.label.frame)).labelled[0] for entry in entries]


__all__ = ["Dataset", "campaign_dataset", "labelled_frames", "spent_before"]
