"""Trouble in the store of campaigns: indexes, claims of the dead, damaged bytes."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.records import Records, damaged_blobs
from nepal_flows.records.owner import is_known_dead
from nepal_flows.records.records import INDEXED_FIELDS
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    Document,
    ExplorationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

_KINDS: tuple[type[Document], ...] = (
    CampaignDoc,
    TrainingDoc,
    ActiveSetDoc,
    ExplorationDoc,
    SelectionDoc,
    LabelDoc,
)
_MOST_NAMED = 5
_FORGOTTEN_S = 86400.0
"""After this long nobody renews a claim, whatever the clocks of two hosts differ by, s."""


def store_findings(
    records: Records, *, campaign_id: str | None = None, reads_blobs: bool = False
) -> Iterator[Finding]:
    """Yield what is wrong with a store.

    Parameters
    ----------
    records
        The store.
    campaign_id
        Whose bytes are read; None for everybody's.
    reads_blobs
        Whether all bytes are read and compared with their hashes, which takes its time.
    """
    began = time.perf_counter()
    n_campaigns, n_labels = records.count(CampaignDoc), records.count(LabelDoc)
    answered_s = time.perf_counter() - began
    yield Finding(
        "ok" if answered_s < 1.0 else "note",
        f"Store: {n_campaigns} campaigns, {n_labels} labels; answers in {1e3 * answered_s:.0f} ms.",
        "" if answered_s < 1.0 else "Look at the network, and at the indexes.",
    )
    yield from _missing_indexes(records)
    yield from _dead_claims(records)
    if reads_blobs:
        yield from _damaged(records, campaign_id)


def _missing_indexes(records: Records) -> Iterator[Finding]:
    known = {
        field
        for index in records.store._collection.index_information().values()
        for field, _ in index["key"]
    }
    missing = [field for field in INDEXED_FIELDS if field not in known]
    if missing:
        yield Finding(
            "problem",
            f"The collection of records has no index of {', '.join(missing)}: look-ups are slow.",
            "it is indexed.",
            records.ensure_indexes,
        )


def _dead_claims(records: Records) -> Iterator[Finding]:
    collection: Any = records.store._collection
    dead = [
        claim["_id"]
        for claim in collection.find({"kind": "claim"})
        if claim["expires_at"] < time.time() - _FORGOTTEN_S or is_known_dead(claim["owner"])
    ]
    if dead:
        yield Finding(
            "note",
            f"{len(dead)} claims are held by processes that are gone (they hold nobody up).",
            "they are removed.",
            partial(collection.delete_many, {"_id": {"$in": dead}}),
        )


def _damaged(records: Records, campaign_id: str | None) -> Iterator[Finding]:
    criteria = {} if campaign_id is None else {"campaign_id": campaign_id}
    documents = (doc for kind in _KINDS for doc in records.query(kind, criteria))
    damaged = damaged_blobs(records.blobs, documents)
    if not damaged:
        yield Finding("ok", "Blobs: all are there and are what they were.")
    for item in damaged[:_MOST_NAMED]:
        remedy = "Copy it back from a backup of the database."
        if isinstance(item.document, LabelDoc):
            remedy += " Without one: nepal resume CAMPAIGN --retry-failed makes the label again."
        yield Finding(
            "problem",
            f"{item.field} of the {item.document.kind} {item.document.key[:12]}: {item.reason}",
            remedy,
        )
    if len(damaged) > _MOST_NAMED:
        yield Finding("problem", f"... and {len(damaged) - _MOST_NAMED} more damaged blobs.")


__all__ = ["store_findings"]
