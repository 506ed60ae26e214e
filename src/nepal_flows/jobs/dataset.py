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


def campaign_dataset(
    records: Records, campaign_id: str, campaign: Campaign, *, before: int | None = None
) -> Dataset:
    """Return the campaign's labels in the order in which they were chosen, each once.

    A frame whose label is not there yet is passed over: it is in flight. A frame that was asked
    for twice, because the campaign file changed between, is trained on if either asked for that:
    it must not be held out too.

    Parameters
    ----------
    records, campaign_id, campaign
        Where, and of which campaign.
    before
        Only what iterations before this one asked for: what its model may know, whether or not
        the iteration was interrupted while its own frames were labelled. None for all.
    """
    settings_key = label_settings_key(campaign, starting_structures(records, campaign_id))
    selections = sorted(
        records.query(SelectionDoc, {"campaign_id": campaign_id}),
        key=lambda doc: (-1 if doc.iteration is None else doc.iteration, doc.key),
    )
    wanted: dict[str, tuple[SelectedFrame, int | None]] = {}
    for doc in selections:
        if before is not None and doc.iteration is not None and doc.iteration >= before:
            continue
        for frame in doc.selected:
            key = label_key(frame.structure_key, settings_key)
            if key not in wanted or (wanted[key][0].role, frame.role) == ("holdout", "train"):
                wanted[key] = (frame, doc.iteration)
    labels = {label.key: label for label in records.query(LabelDoc, {"key": {"$in": list(wanted)}})}
    entries = [Entry(labels[key], *asked) for key, asked in wanted.items() if key in labels]
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
