"""Label a user's own frames with a campaign's labeler; each label is stored as it ends."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import label_pool, labeler_of
from nepal_flows.labelers import (
    LabelOutcome,
    build_gate,
    label_document,
    label_structures,
)
from nepal_flows.records import Records, label_key, settings_key, structure_key
from nepal_flows.schemas import Ancestry, LabelDoc


def label_frames(
    records: Records,
    loaded: LoadedCampaign,
    structures: Sequence[Structure],
    *,
    source: str,
    scratch: str | Path | None = None,
    on_done: Callable[[int, int, str], None] | None = None,
) -> list[LabelDoc]:
    """Return the label of every structure, made by the campaign's labeler where it is missing.

    The labels belong to no data set: a campaign that meets the same structure takes them over.

    Parameters
    ----------
    records, loaded
        Where labels are kept, and the campaign whose labels section is used.
    structures
        What to label.
    source
        Where they came from, for the record.
    scratch
        Folder to label in.
    on_done
        Called with the number done, the number in all and a note.
    """
    labeler = labeler_of(loaded.campaign, loaded.structures)
    settings = settings_key(labeler.physics())
    keys = [label_key(structure_key(structure), settings) for structure in structures]
    wanted = dict(zip(keys, structures, strict=True))
    missing = [key for key in wanted if records.find(LabelDoc, key) is None]
    done = len(wanted) - len(missing)

    def store(outcome: LabelOutcome) -> None:
        nonlocal done
        done += 1
        ancestry = Ancestry(source="user", note=source)
        records.put(
            label_document(outcome, labeler=labeler, ancestry=ancestry, blobs=records.blobs)
        )
        if on_done is not None:
            on_done(done, len(wanted), outcome.reason or "")

    section = loaded.campaign.labels
    label_structures(
        labeler,
        [wanted[key] for key in missing],
        pool=label_pool(loaded.campaign),
        time_limit_s=section.time_limit_s,
        retries=section.retries,
        gate=build_gate(section),
        scratch=scratch,
        on_done=store,
    )
    return [records.load(LabelDoc, key) for key in keys]


def labelled_structures(records: Records, labels: Sequence[LabelDoc]) -> list[LabelledStructure]:
    """Return the frames of the labels that succeeded, in order."""
    done = [label for label in labels if label.status == "done"]
    return [unpack_frames(records.blobs.get(label.frame)).labelled[0] for label in done]


__all__ = ["label_frames", "labelled_structures"]
