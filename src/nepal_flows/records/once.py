"""Make documents once, also when several workers want the same ones."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nepal_flows.records.records import DocT, Records
from nepal_flows.schemas.base import Document

logger = logging.getLogger(__name__)

LEASE_S = 120.0
"""How long a worker waits for a sign of life of one on another host, by its own clock, s."""

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 10.0


def made_once(
    records: Records, document_class: type[DocT], key: str, make: Callable[[], DocT]
) -> DocT:
    """Return the document with a key: the stored one, or the one that ``make`` returns, stored.

    While another worker makes it this waits; if that worker dies, the work is taken over.
    """

    def made(_: Sequence[str]) -> None:
        records.put(make())

    make_missing(records, document_class, [key], made)
    return records.load(document_class, key)


def make_missing(
    records: Records,
    document_class: type[Document],
    keys: Sequence[str],
    make: Callable[[Sequence[str]], None],
) -> None:
    """Return once every document exists, or its making was tried here.

    Parameters
    ----------
    records
        Where they are kept.
    document_class, keys
        Which documents.
    make
        Makes and stores those of the keys it is given: the ones that do not exist and that no
        other worker is making. It is called again for what another worker left undone.
    """
    pending, pause = _missing(records, document_class, keys), _FIRST_PAUSE_S
    while pending:
        with claimed(records, document_class.kind, pending) as granted:
            mine = _missing(records, document_class, granted)  # made since we looked
            if mine:
                make(mine)
        if not granted:
            time.sleep(pause)
            pause = min(2.0 * pause, _LONGEST_PAUSE_S)
        pending = _missing(records, document_class, [k for k in pending if k not in granted])


def _missing(records: Records, document_class: type[Document], keys: Sequence[str]) -> list[str]:
    if not keys:
        return []
    found = records.rows(document_class, {"key": {"$in": list(keys)}}, ["key"])
    known = {row["key"] for row in found}
    return [key for key in dict.fromkeys(keys) if key not in known]


@contextmanager
def claimed(
    records: Records, kind: str, keys: Sequence[str], *, lease_s: float | None = None
) -> Iterator[list[str]]:
    """Yield the keys that are ours to make; the claims are renewed until the block is left.

    Parameters
    ----------
    records
        Where claims are kept.
    kind, keys
        What is claimed.
    lease_s
        See :data:`LEASE_S`, which it is when not given.
    """
    lease_s = LEASE_S if lease_s is None else lease_s
    granted = [key for key in keys if records.claim(kind, key, lease_s=lease_s)]
    finished = threading.Event()

    def renew() -> None:
        while not finished.wait(lease_s / 4.0):
            try:
                for key in granted:
                    records.claim(kind, key, lease_s=lease_s)
            except Exception as error:  # a store that is away comes back: the work goes on
                logger.warning("Claims cannot be renewed at present: %s", error)

    heartbeat = threading.Thread(target=renew, name="claims", daemon=True)
    if granted:
        heartbeat.start()
    try:
        yield granted
    finally:
        finished.set()
        if granted:
            heartbeat.join()
        for key in granted:
            records.release(kind, key)


__all__ = ["LEASE_S", "claimed", "made_once", "make_missing"]
