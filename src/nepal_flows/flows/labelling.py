"""Label a user's frames by a campaign's labeler, and keep the labels for whoever needs them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.pool import shared_pool
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.labelers import LabelOutcome, build_gate, label_document, label_structures
from nepal_flows.records import Records, label_key, settings_key, structure_key
from nepal_flows.schemas import Ancestry, LabelDoc

Progress = Callable[[int, int], None]


def label_frames(
    records: Records,
    loaded: LoadedCampaign,
    structures: Sequence[Structure],
    *,
    source: str,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> list[LabelDoc]:
    """Return the label of every structure; what is on record already is not made again.

    Parameters
    ----------
    records
        Where labels are looked up and kept. They count for no campaign; one that asks for the
        same structure finds them.
    loaded
        The campaign whose ``labels`` section says how.
    structures
        What to label.
    source
        Where the structures came from, for the record.
    scratch
        Folder to run in.
    progress
        Called after every label.

    Raises
    ------
    LabelError
        If the program or its data are not there.
    """
    section = loaded.campaign.labels
    labeler = labeler_of(loaded.campaign, loaded.structures)
    labeler.check(loaded.campaign.model.elements)
    settings = settings_key(labeler.physics())
    keys = [label_key(structure_key(structure), settings) for structure in structures]
    known = {key for key in keys if records.find(LabelDoc, key) is not None}
    fresh = {k: s for k, s in zip(keys, structures, strict=True) if k not in known}
    missing = list(fresh.values())
    n_done = len(structures) - len(missing)

    def store(outcome: LabelOutcome) -> None:
        nonlocal n_done
        ancestry = Ancestry(source="user", note=source)
        records.put(
            label_document(outcome, labeler=labeler, ancestry=ancestry, blobs=records.blobs)
        )
        n_done += 1
        if progress is not None:
            progress(n_done, len(structures))

    if missing:
        label_structures(
            labeler,
            missing,
            pool=shared_pool(loaded.campaign.resources.workers, preload=("nepal_flows.labelers",)),
            time_limit_s=section.time_limit_s,
            retries=section.retries,
            gate=build_gate(section),
            scratch=scratch,
            on_done=store,
        )
    return [records.load(LabelDoc, key) for key in keys]


def labelled_structure(records: Records, label: LabelDoc) -> LabelledStructure | None:
    """Return the labelled frame of a label, None of one that failed."""
    if label.status != "done":
        return None
    return unpack_frames(records.blobs.get(label.frame)).labelled[0]


__all__ = ["label_frames", "labelled_structure"]
