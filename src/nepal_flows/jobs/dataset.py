"""The labelled frames of a campaign, in the order in which they were chosen."""

from dataclasses import dataclass

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import label_settings_key
from nepal_flows.jobs.stage import starting_structures
from nepal_flows.records import Records, dataset_key, label_key
from nepal_flows.schemas import LabelDoc, SelectedFrame, SelectionDoc


@dataclass(frozen=True)
class Entry:
    """One labelled frame of a campaign.

    Attributes
    ----------
    label
        The label as stored.
    chosen
        Why the campaign asked for it.
    iteration
        Iteration that asked for it; None for the seeds.
    """

    label: LabelDoc
    chosen: SelectedFrame
    iteration: int | None


@dataclass(frozen=True)
class Dataset:
    """The usable labels of a campaign, split by role, with the failed ones counted."""

    train: tuple[Entry, ...]
    holdout: tuple[Entry, ...]
    quarantined: tuple[Entry, ...]

    @property
    def key(self) -> str:
        """Hash of the ordered training labels."""
        return dataset_key([entry.label.key for entry in self.train])

    @property
    def n_labels(self) -> int:
        """Every label asked for, failures too."""
        return len(self.train) + len(self.holdout) + len(self.quarantined)


def campaign_dataset(records: Records, campaign_id: str, campaign: Campaign) -> Dataset:
    """Return the campaign's labels in the order in which they were chosen.

    A frame whose label is not there yet is passed over: it is in flight.
    """
    settings_key = label_settings_key(campaign, starting_structures(records, campaign_id))
    selections = sorted(
        records.query(SelectionDoc, {"campaign_id": campaign_id}),
        key=lambda doc: (-1 if doc.iteration is None else doc.iteration, doc.key),
    )
    wanted = [
        (label_key(frame.structure_key, settings_key), frame, doc.iteration)
        for doc in selections
        for frame in doc.selected
    ]
    labels = {
        label.key: label
        for label in records.query(LabelDoc, {"key": {"$in": [key for key, _, _ in wanted]}})
    }
    entries = [
        Entry(labels[key], frame, iteration) for key, frame, iteration in wanted if key in labels
    ]
    done = [entry for entry in entries if entry.label.status == "done"]
    return Dataset(
        train=tuple(entry for entry in done if entry.chosen.role == "train"),
        holdout=tuple(entry for entry in done if entry.chosen.role == "holdout"),
        quarantined=tuple(entry for entry in entries if entry.label.status != "done"),
    )


def labelled_frames(records: Records, entries: tuple[Entry, ...]) -> list[LabelledStructure]:
    """Return the frames of the entries with their energies, forces and virials."""
    return [unpack_frames(records.blobs.get(entry.label.frame)).labelled[0] for entry in entries]


__all__ = ["Dataset", "Entry", "campaign_dataset", "labelled_frames"]
