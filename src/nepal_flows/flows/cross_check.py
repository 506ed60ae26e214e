"""One label of every other version of a code, made again by the version at hand."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.errors import LabelError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.labeler import label_pool, labeler_of
from nepal_flows.labelers import label_structures
from nepal_flows.labelers.agreement import Agreement, label_agreement
from nepal_flows.records import Records, settings_key
from nepal_flows.schemas import LabelDoc

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CrossCheck:
    """A label on record beside the same label by the version at hand.

    Attributes
    ----------
    label_key
        The label on record.
    recorded, current
        Versions of the code.
    agreement
        How far they differ.
    """

    label_key: str
    recorded: str
    current: str
    agreement: Agreement


def cross_checked_versions(
    records: Records, loaded: LoadedCampaign, *, scratch: Path | None = None
) -> list[CrossCheck]:
    """Return the smallest label of every version on record beside the same label made now.

    Parameters
    ----------
    records, loaded
        Where labels are kept, and the campaign whose labels are meant.
    scratch
        Folder to label in.

    Raises
    ------
    LabelError
        If a label cannot be made again.
    """
    labeler = labeler_of(loaded.campaign, loaded.structures)
    recorded = list(_smallest_by_version(records, settings_key(labeler.physics())))
    frames = [unpack_frames(records.blobs.get(label.frame)).labelled[0] for label in recorded]
    outcomes = label_structures(
        labeler,
        [frame.structure for frame in frames],
        pool=label_pool(loaded.campaign),
        time_limit_s=loaded.campaign.labels.time_limit_s,
        scratch=scratch,
    )
    checks = []
    for label, frame, outcome in zip(recorded, frames, outcomes, strict=True):
        if outcome.label is None:
            raise LabelError(f"Label {label.key[:12]} cannot be made again: {outcome.reason}")
        checks.append(
            CrossCheck(
                label_key=label.key,
                recorded=label.labeler_version or "unknown",
                current=outcome.version or "unknown",
                agreement=label_agreement(frame, outcome.label),
            )
        )
    return checks


def _smallest_by_version(records: Records, settings: str) -> Iterator[LabelDoc]:
    criteria = {"settings_key": settings, "status": "done"}
    smallest: dict[str | None, tuple[int, str]] = {}
    for row in records.rows(LabelDoc, criteria, ["key", "n_atoms", "labeler_version"]):
        found = (int(row["n_atoms"]), str(row["key"]))
        version = row["labeler_version"]
        smallest[version] = min(found, smallest.get(version, found))
    for _, key in smallest.values():
        yield records.load(LabelDoc, key)


__all__ = ["CrossCheck", "cross_checked_versions"]
