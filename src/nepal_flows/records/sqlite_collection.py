"""Documents in a SQLite file, under pymongo's names.

One table a collection: ``_id`` (unique), the document as JSON text (readable with any sqlite3
shell), and one column for each indexed field. Writes are transactions in write-ahead mode with a
full sync, so that a process that is killed at any moment leaves every acknowledged write and no
half of another.
"""

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bson import ObjectId, json_util
from pymongo.errors import DuplicateKeyError

from nepal_flows.errors import RecordError, StoreUnavailableError
from nepal_flows.records.criteria import (
    field_value,
    in_order,
    matching,
    projected,
    sql_criteria,
    whole_fields,
)

_NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "beegfs",
    "afs",
    "ceph",
    "fuse.sshfs",
)
_BUSY_TIMEOUT_S = 60.0
_JSON_OPTIONS = json_util.JSONOptions(tz_aware=False)


@dataclass(frozen=True)
class WriteResult:
    """What a replacement or a deletion met, under pymongo's names."""

    matched_count: int = 0
    deleted_count: int = 0


class SqliteCollection:
    """A collection of JSON documents in one table of a SQLite file.

    Parameters
    ----------
    path
        The file; it and its directory are made where they are missing.
    name
        The collection's name, a table of the file.
    indexes
        Fields (dotted paths) that are looked up often; they may hold text, numbers or nothing.

    Raises
    ------
    StoreUnavailableError
        If the file cannot be opened, read or written.
    """

    def __init__(self, path: Path, name: str, *, indexes: Sequence[str] = ()) -> None:
        self.path = Path(path)
        self.name = name
        self.indexes = tuple(field for field in indexes if field != "_id")
        self._columns = ("_id", *self.indexes)
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._connection: sqlite3.Connection | None = None
        self._open()

    def close(self) -> None:
        """Close the file; what was written stays."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def insert_one(self, document: Mapping[str, Any]) -> str:
        """Insert a document and return its ``_id`` (made where it has none).

        Raises
        ------
        pymongo.errors.DuplicateKeyError
            If a document with this ``_id`` exists; nothing is written.
        """
        with self._transaction() as connection:
            return self._insert(connection, document)

    def replace_one(
        self, filter: Mapping[str, Any], replacement: Mapping[str, Any], *, upsert: bool = False
    ) -> WriteResult:
        """Replace the first document that matches and return whether there was one.

        With ``upsert`` the document is inserted when none matches.
        """
        with self._transaction() as connection:
            n_matched = self._replace(connection, filter, replacement, upsert=upsert)
        return WriteResult(matched_count=n_matched)

    def replace_many(self, documents: Iterable[Mapping[str, Any]], key: Sequence[str]) -> None:
        """Replace or insert several documents, each found by its values of ``key``, at once."""
        with self._transaction() as connection:
            for document in documents:
                wanted = {field: document[field] for field in key}
                self._replace(connection, wanted, document, upsert=True)

    def delete_many(self, filter: Mapping[str, Any]) -> WriteResult:
        """Delete the documents that match and return how many they were."""
        with self._transaction() as connection:
            ids = [(document["_id"],) for document in self._select(connection, filter)]
            connection.executemany(f'DELETE FROM "{self.name}" WHERE "_id" = ?', ids)
        return WriteResult(deleted_count=len(ids))

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Mapping[str, Any] | None = None,
        *,
        skip: int = 0,
        limit: int = 0,
        sort: Sequence[tuple[str, int]] | None = None,
        **_: Any,
    ) -> Iterator[dict[str, Any]]:
        """Yield the documents that match, in the order of insertion unless sorted."""
        fields = whole_fields(projection)
        with self._reading() as connection:
            by_columns = sort is None or all(field in self._columns for field, _ in sort)
            found = self._select(
                connection,
                filter,
                limit=limit if by_columns and not skip else 0,
                sort=sort if sort and by_columns else (),
                fields=fields if by_columns else (),
            )
        if sort and not by_columns:
            found = in_order(found, sort)
        for document in found[skip : skip + limit if limit else None]:
            if fields:
                yield {field: document[field] for field in fields if field in document}
            else:
                yield projected(document, projection)

    def find_one(self, filter: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Return the first document that matches, None if there is none."""
        return next(self.find(filter, limit=1), None)

    def count_documents(self, filter: Mapping[str, Any] | None = None, **_: Any) -> int:
        """Return the number of documents that match."""
        query = sql_criteria(filter, self._columns)
        with self._reading() as connection:
            if query.rest:
                return len(self._select(connection, filter))
            sql = f'SELECT COUNT(*) FROM "{self.name}" WHERE {query.where}'
            return int(connection.execute(sql, query.values).fetchone()[0])

    def distinct(self, key: str, filter: Mapping[str, Any] | None = None) -> list[Any]:
        """Return the different values of a field, those inside lists one by one."""
        values: dict[str, Any] = {}
        for document in self.find(filter):
            value = field_value(document, key)
            for item in value if isinstance(value, list) else [value]:
                if item is not None:
                    values.setdefault(_encoded(item), item)
        return list(values.values())

    def _open(self) -> None:
        with self._translating():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
            )
            self._pid = os.getpid()
            journal = "TRUNCATE" if is_on_network(self.path) else "WAL"
            self._connection.execute(f"PRAGMA journal_mode={journal}")
            self._connection.execute("PRAGMA synchronous=FULL")
        with self._transaction() as connection:
            self._ensure_table(connection)

    def _ensure_table(self, connection: sqlite3.Connection) -> None:
        connection.execute(
            f'CREATE TABLE IF NOT EXISTS "{self.name}" '
            "(seq INTEGER PRIMARY KEY, _id TEXT NOT NULL UNIQUE, document TEXT NOT NULL)"
        )
        present = {row[1] for row in connection.execute(f'PRAGMA table_info("{self.name}")')}
        missing = [field for field in self.indexes if field not in present]
        for field in missing:
            connection.execute(f'ALTER TABLE "{self.name}" ADD COLUMN "{field}"')
            connection.execute(
                f'CREATE INDEX IF NOT EXISTS "{self.name}:{field}" ON "{self.name}" ("{field}")'
            )
        if missing:
            for document in self._select(connection, {}):
                self._write(connection, document["_id"], document)

    def _insert(self, connection: sqlite3.Connection, document: Mapping[str, Any]) -> str:
        name = str(document.get("_id") or ObjectId())
        content = {**document, "_id": name}
        columns = ",".join(f'"{field}"' for field in ("document", *self._columns))
        marks = ",".join("?" * (1 + len(self._columns)))
        try:
            connection.execute(
                f'INSERT INTO "{self.name}" ({columns}) VALUES ({marks})',
                (_encoded(content), name, *self._indexed_values(content)),
            )
        except sqlite3.IntegrityError as error:
            raise DuplicateKeyError(f"`{name}` is in {self.name} already.") from error
        return name

    def _replace(
        self,
        connection: sqlite3.Connection,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        *,
        upsert: bool,
    ) -> int:
        found = self._select(connection, filter, limit=1)
        if found:
            self._write(connection, found[0]["_id"], replacement)
        elif upsert:
            self._insert(connection, replacement)
        return len(found)

    def _write(
        self, connection: sqlite3.Connection, name: str, document: Mapping[str, Any]
    ) -> None:
        content = {**document, "_id": name}
        assignments = ",".join(f'"{field}" = ?' for field in ("document", *self.indexes))
        connection.execute(
            f'UPDATE "{self.name}" SET {assignments} WHERE "_id" = ?',
            (_encoded(content), *self._indexed_values(content), name),
        )

    def _select(
        self,
        connection: sqlite3.Connection,
        filter: Mapping[str, Any] | None,
        *,
        limit: int = 0,
        sort: Sequence[tuple[str, int]] = (),
        fields: Sequence[str] = (),
    ) -> list[dict[str, Any]]:
        """Return the documents that match; with ``fields``, at least those of each."""
        query = sql_criteria(filter, self._columns)
        some = fields if len(fields) > 1 and not query.rest else ()
        order = "".join(f'"{field}" {"DESC" if way < 0 else "ASC"},' for field, way in sort)
        taken = "document"
        if some:  # decoding ten thousand documents for a few fields would take half a second
            paths = ", ".join(f"'$.{field}'" for field in some)
            taken = f"_id, json_extract(document, {paths})"
        sql = f'SELECT {taken} FROM "{self.name}" WHERE {query.where} ORDER BY {order} seq'
        if limit and not query.rest:
            sql += f" LIMIT {int(limit)}"
        rows = connection.execute(sql, query.values).fetchall()
        if some:
            return [
                _fields_of(values, some) or self._select(connection, {"_id": name})[0]
                for name, values in rows
            ]
        documents = matching((_decoded(row[0]) for row in rows), query.rest)
        if not limit:
            return list(documents)
        return [document for document, _ in zip(documents, range(limit), strict=False)]

    def _indexed_values(self, document: Mapping[str, Any]) -> list[Any]:
        values = [field_value(document, field) for field in self.indexes]
        for field, value in zip(self.indexes, values, strict=True):
            if isinstance(value, bool) or not isinstance(value, (str, int, float, type(None))):
                raise RecordError(
                    f"`{field}` of a document in {self.name} is {value!r}; an indexed field "
                    "holds text, a number or nothing."
                )
        return values

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translating():
            yield self._connected()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translating():
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            self._connection = None  # a connection must not be used on both sides of a fork
            self._open()
        if self._connection is None:
            raise StoreUnavailableError(f"The store {self.path} is closed. Connect it first.")
        return self._connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.DatabaseError, json.JSONDecodeError, OSError) as error:
            raise StoreUnavailableError(
                f"The store {self.path} cannot be used: {error}. {_remedy(str(error))}"
            ) from error


def _remedy(message: str) -> str:
    if "full" in message or "No space" in message:
        return "Free some space on that disk, then run the same command again: it continues."
    if "readonly" in message or "ermission" in message or "unable to open" in message:
        return "Make the directory writable, or put the campaign where you may write."
    if "locked" in message:
        return "Another process holds it; end that one, or wait for it."
    if "not a database" in message or "malformed" in message or "char " in message:
        return "It is damaged, or another program's file: move it away, or restore a copy."
    return "Check the disk and the path."


def is_on_network(path: Path) -> bool:
    """Return whether a path lies on a network file system, where write-ahead mode is not safe."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return False
    resolved = path.resolve()
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        point, file_system = line.split()[1:3]
        if resolved.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, file_system
    return kind.startswith(_NETWORK_FILE_SYSTEMS)


def _encoded(value: Any) -> str:
    return json.dumps(
        value, separators=(",", ":"), default=lambda item: json_util.default(item, _JSON_OPTIONS)
    )


def _decoded(text: str) -> dict[str, Any]:
    document: dict[str, Any]
    if '{"$' in text:  # dates and object ids in MongoDB's extended JSON
        document = json.loads(
            text, object_hook=lambda item: json_util.object_hook(item, _JSON_OPTIONS)
        )
    else:
        document = json.loads(text)
    return document


def _fields_of(extracted: str, fields: Sequence[str]) -> dict[str, Any] | None:
    """Return fields of a document, None where one is absent or null, or of a type of BSON's own."""
    values = json.loads(extracted)
    if '{"$' in extracted or None in values:
        return None
    return dict(zip(fields, values, strict=True))


__all__ = ["SqliteCollection", "WriteResult", "is_on_network"]
