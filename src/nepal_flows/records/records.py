"""What exists, by kind and key: find it, put it once, claim it before making it."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError
from pymongo.errors import DuplicateKeyError

from nepal_flows.errors import RecordError, SettingsError
from nepal_flows.records.connection import shown_name, translated_errors
from nepal_flows.records.owner import is_known_dead, this_process
from nepal_flows.schemas.base import Document

if TYPE_CHECKING:
    from jobflow.core.store import JobStore

    from nepal_flows.records.blobs import Blobs

DocT = TypeVar("DocT", bound=Document)

RECORDS_STORE = "records"
BLOBS_STORE = "blobs"

INDEXED_FIELDS = ("kind", "key", "campaign_id", "iteration", "structure_key", "model_sha256")
"""Fields of documents by which they are looked up."""

_OLD_LEASE_S = 120.0
"""Lease of claims that do not tell theirs, s: they were made by an older version."""

_CONTAINERS = (dict, list)
_MUTABLE_KINDS = frozenset({"campaign", "checkpoint"})


class Records:
    """The documents of campaigns, in the additional store ``records`` of a JobStore.

    Parameters
    ----------
    job_store
        A JobStore with additional stores named ``records`` (documents) and ``blobs`` (bytes).

    Raises
    ------
    SettingsError
        If the JobStore lacks one of them.
    StoreUnavailableError
        If a store cannot be reached.
    """

    store: Any
    _blob_store: Callable[[], Any]
    _watched: dict[str, tuple[tuple[str, float], float]]
    """Claims of others: owner and renewal as first seen, and when by our monotonic clock, s."""

    def __init__(self, job_store: "JobStore") -> None:
        whole: Any = job_store
        self._watched = {}
        self._use(whole.additional_stores)

    @classmethod
    def of_table(cls, table: Any, blob_store: Callable[[], Any]) -> "Records":
        """Return the records in a table of an embedded store, or of a server.

        For those who need no JobStore: importing jobflow and maggma takes longer than most
        questions to the store.

        Parameters
        ----------
        table
            An `EmbeddedTable` or a `ServerTable`.
        blob_store
            Makes the store of the bytes when they are asked for.
        """
        records = cls.__new__(cls)
        records._watched = {}
        records.store = table
        records._blob_store = blob_store
        return records

    @cached_property
    def blobs(self) -> "Blobs":
        """The bytes that documents refer to."""
        from nepal_flows.records.blobs import Blobs  # noqa: PLC0415 - imports maggma

        return Blobs(self._blob_store())

    def _use(self, stores: Mapping[str, Any]) -> None:
        try:
            self.store = stores[RECORDS_STORE]
            blobs = stores[BLOBS_STORE]
        except KeyError as error:
            raise SettingsError(
                f"The JobStore has no additional store named {error}. Add `records` (a MongoStore) "
                "and `blobs` (a GridFSStore) under `additional_stores` in jobflow.yaml, as "
                "fireworker_configs/login/jobflow.yaml shows, or set NEPAL_STORE=embedded."
            ) from error
        with translated_errors(self.store):
            self.store.connect()
        self._blob_store = partial(_same, blobs)
        _ = self.blobs  # so that a store that cannot be reached shows now

    @classmethod
    def current(cls) -> "Records":
        """Return the records of the job that is running.

        jobflow-remote lends a job files in the place of its store, and copies them when it ends.
        Records are shared while jobs run, so there they are where the worker's own jobflow.yaml
        says.

        Raises
        ------
        RecordError
            If no job is running, or it was not configured to see its store.
        SettingsError
            Under jobflow-remote, if the worker has no jobflow.yaml.
        """
        from jobflow.core.state import CURRENT_JOB  # noqa: PLC0415 - half a second, needed in jobs alone

        store = CURRENT_JOB.store
        if store is None:
            raise RecordError(
                "No job with access to its store is running here. Decorate the job with "
                "`config=JobConfig(expose_store=True)`, or build `Records(job_store)`."
            )
        return cls(_site_store() if _is_lent(store) else store)

    def find(self, document_class: type[DocT], key: str) -> DocT | None:
        """Return the document of a class with a key, None if there is none."""
        with translated_errors(self.store):
            name = _record_id(document_class.kind, key)
            record = self._collection.find_one({"_id": name})
        return None if record is None else _document(document_class, record)

    def load(self, document_class: type[DocT], key: str) -> DocT:
        """Return the document of a class with a key.

        Raises
        ------
        RecordError
            If there is none.
        """
        document = self.find(document_class, key)
        if document is None:
            raise RecordError(
                f"There is no {document_class.kind} with key {key} in {shown_name(self.store)}. "
                "Run the step that makes it, or check that this is the campaign's store."
            )
        return document

    def put(self, document: DocT) -> DocT:
        """Store a document unless its key is taken, and return the one that is stored."""
        record = _record(document)
        with translated_errors(self.store):
            try:
                self._collection.insert_one(record)
            except DuplicateKeyError:
                return self.load(type(document), document.key)
        return document

    def replace(self, document: Document) -> None:
        """Store a document over the one with its key: campaigns and checkpoints alone change.

        Raises
        ------
        RecordError
            If documents of this kind never change.
        """
        if document.kind not in _MUTABLE_KINDS:
            raise RecordError(
                f"A stored {document.kind} never changes. Put it under another key instead."
            )
        record = _record(document)
        with translated_errors(self.store):
            self._collection.replace_one({"_id": record["_id"]}, record, upsert=True)

    def remove(self, document_class: type[Document], key: str) -> None:
        """Remove a document, so that the step that makes it runs again."""
        with translated_errors(self.store):
            self._collection.delete_many({"_id": _record_id(document_class.kind, key)})

    def query(
        self,
        document_class: type[DocT],
        criteria: Mapping[str, Any] | None = None,
        *,
        sort: Mapping[str, int] | None = None,
        limit: int = 0,
    ) -> Iterator[DocT]:
        """Yield documents of a class that match criteria in MongoDB's query language."""
        for record in self.rows(document_class, criteria, sort=sort, limit=limit):
            yield _document(document_class, record)

    def rows(
        self,
        document_class: type[Document],
        criteria: Mapping[str, Any] | None = None,
        properties: Sequence[str] | None = None,
        *,
        sort: Mapping[str, int] | None = None,
        limit: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Yield documents as plain dictionaries, with only the properties asked for."""
        with translated_errors(self.store):
            for record in self._collection.find(
                {"kind": document_class.kind, **(criteria or {})},
                None if properties is None else {"_id": 0} | dict.fromkeys(properties, 1),
                sort=None if sort is None else list(sort.items()),
                limit=limit,
            ):
                yield _plain(record)

    def count(
        self, document_class: type[Document], criteria: Mapping[str, Any] | None = None
    ) -> int:
        """Return the number of documents of a class that match."""
        with translated_errors(self.store):
            criteria = {"kind": document_class.kind, **(criteria or {})}
            return int(self._collection.count_documents(criteria))

    def claim(
        self, kind: str, key: str, *, lease_s: float = 86400.0, owner: str | None = None
    ) -> bool:
        """Return whether the owner may now make the document of this kind and key.

        One claim is granted at a time; claiming again renews the lease. The claim of another is
        taken over when its process, of this host, is gone, or when calls of this method on this
        object saw it unchanged for its whole lease: clocks of two hosts are never compared.

        Parameters
        ----------
        kind, key
            What is to be made.
        lease_s
            How long the claim holds from when another first sees it, if it is not renewed, s.
        owner
            Who claims; this process when not given.
        """
        owner = owner or this_process()
        name = _record_id("claim", f"{kind}:{key}")
        claim: dict[str, Any] = {"_id": name, "kind": "claim", "key": f"{kind}:{key}"}
        claim |= {"owner": owner, "expires_at": time.time() + lease_s, "lease_s": lease_s}
        collection = self._collection
        with translated_errors(self.store):
            while True:
                try:
                    collection.insert_one(dict(claim))
                except DuplicateKeyError:
                    held = collection.find_one({"_id": name})
                else:
                    self._watched.pop(name, None)
                    return True
                if held is None:
                    continue
                is_free = held["owner"] == owner or is_known_dead(held["owner"])
                if not is_free and not self._is_silent(held):
                    return False
                seen = {field: held[field] for field in ("_id", "owner", "expires_at")}
                if collection.replace_one(seen, dict(claim)).matched_count:
                    self._watched.pop(name, None)
                    return True

    def _is_silent(self, held: Mapping[str, Any]) -> bool:
        """Return whether a claim of another was seen unchanged for its whole lease."""
        now, renewal = time.monotonic(), (held["owner"], held["expires_at"])
        first_seen = self._watched.get(held["_id"])
        if first_seen is None or first_seen[0] != renewal:
            first_seen = self._watched[held["_id"]] = (renewal, now)
        return bool(now - first_seen[1] >= held.get("lease_s", _OLD_LEASE_S))

    def release(self, kind: str, key: str, *, owner: str | None = None) -> None:
        """Give a claim back; the claim of another stays."""
        name = _record_id("claim", f"{kind}:{key}")
        with translated_errors(self.store):
            self._collection.delete_many({"_id": name, "owner": owner or this_process()})

    @property
    def _collection(self) -> Any:
        """The collection of documents, as pymongo has it."""
        return self.store._collection

    def ensure_indexes(self) -> None:
        """Index what is looked up; to be called once when a database is set up."""
        with translated_errors(self.store):
            for field in INDEXED_FIELDS:
                self.store.ensure_index(field)
            self.blobs.store.ensure_index("blob_uuid")


def _same(thing: Any) -> Any:
    return thing


def _is_lent(job_store: "JobStore") -> bool:
    """Return whether a store is the set of files that jobflow-remote gives to one job."""
    return type(job_store.docs_store).__module__.split(".")[0] == "jobflow_remote"


def _site_store() -> "JobStore":
    if not has_jobflow_configuration():
        raise SettingsError(
            "This worker has no jobflow.yaml, but under jobflow-remote the records are kept where "
            "it says. Set JOBFLOW_CONFIG_FILE in the worker's `exec_config` to a copy of "
            "fireworker_configs/cpu/jobflow.yaml."
        )
    from jobflow import SETTINGS  # noqa: PLC0415

    return SETTINGS.JOB_STORE


def has_jobflow_configuration() -> bool:
    """Return whether this site has told jobflow where to store."""
    if os.environ.get("JOBFLOW_JOB_STORE"):
        return True
    file = os.environ.get("JOBFLOW_CONFIG_FILE") or "~/.jobflow.yaml"
    return Path(file).expanduser().is_file()


def _record_id(kind: str, key: str) -> str:
    return f"{kind}:{key}"


def _record(document: Document) -> dict[str, Any]:
    record = _renamed(document.record(), _escaped)
    return {"_id": _record_id(document.kind, document.key), **record}


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _unescaped(name): _renamed(value, _unescaped) if isinstance(value, _CONTAINERS) else value
        for name, value in record.items()
        if name != "_id"
    }


def _document(document_class: type[DocT], record: Mapping[str, Any]) -> DocT:
    fields = {name: value for name, value in _plain(record).items() if name != "kind"}
    try:
        return document_class.model_validate(fields)
    except ValidationError as error:
        raise RecordError(
            f"The {document_class.kind} {record.get('key')} was written by nepal_flows "
            f"{record.get('code_version')} in a form that this version cannot read: {error}. "
            "Use that version or a newer one."
        ) from error


def _renamed(value: Any, rename: Any) -> Any:
    """Return a value with the keys of all its mappings renamed."""
    if isinstance(value, dict):
        return {
            rename(name): _renamed(item, rename) if isinstance(item, _CONTAINERS) else item
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_renamed(item, rename) if isinstance(item, _CONTAINERS) else item for item in value]
    return value


def _escaped(name: str) -> str:
    """Return a key without the characters that MongoDB gives a meaning to (dot, dollar)."""
    return name.replace("%", "%25").replace(".", "%2E").replace("$", "%24")


def _unescaped(name: str) -> str:
    if "%" not in name:
        return name
    return name.replace("%24", "$").replace("%2E", ".").replace("%25", "%")


__all__ = ["BLOBS_STORE", "INDEXED_FIELDS", "RECORDS_STORE", "Records"]
