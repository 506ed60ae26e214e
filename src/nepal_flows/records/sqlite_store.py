"""A maggma store in a SQLite file.

Why not one of maggma's own: measured on 10 000 labels of 1.3 kB, MontyStore (sqlite or flatfile)
reads its whole collection for every look-up and every replacement (0.2 s for one document, 16 ms a
write at 800 documents and growing with each), and flat files are written back only at the end;
JSONStore rewrites its file at every update and is lost when killed meanwhile; MemoryStore keeps
nothing. Here a look-up on an indexed field takes some 0.1 ms at any size, a write is one synced
transaction, and ``kill -9`` loses nothing that was acknowledged.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from maggma.stores import MemoryStore
from monty.json import jsanitize

from nepal_flows.records.sqlite_collection import SqliteCollection

Document = dict[str, Any]


class SqliteStore(MemoryStore):
    """A persistent store of documents in a SQLite file, with MongoDB's query language.

    Parameters
    ----------
    path
        The file. Several stores may share it under different ``collection_name``.
    collection_name
        The table.
    indexes
        Fields (dotted paths) that are looked up often; they may hold text, numbers or nothing.
    **kwargs
        As for every maggma store: ``key``, ``last_updated_field`` ...

    Notes
    -----
    It is opened by ``connect`` and serialises by its arguments alone. The path is made absolute,
    so that it does not follow a later change of directory.
    """

    def __init__(
        self,
        path: str | Path,
        collection_name: str = "documents",
        indexes: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(collection_name=collection_name, **kwargs)
        self.path = str(Path(path).expanduser().absolute())
        self.indexes = list(indexes)

    @property
    def name(self) -> str:
        """What this store is, for messages."""
        return f"sqlite://{self.path}/{self.collection_name}"

    def connect(self, force_reset: bool = False) -> None:
        """Open the file, making it where it is missing.

        Raises
        ------
        StoreUnavailableError
            If it cannot be opened, read or written.
        """
        if self._coll is not None and force_reset:
            self.close()
        if self._coll is None:
            file = Path(self.path)
            self._coll: Any = SqliteCollection(file, self.collection_name, indexes=self.indexes)

    def close(self) -> None:
        """Close the file."""
        if self._coll is not None:
            self._coll.close()
        self._coll = None

    def count(
        self,
        criteria: dict[str, Any] | None = None,
        hint: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> int:
        """Return the number of documents that match."""
        return int(self._collection.count_documents(criteria))

    def ensure_index(self, key: str, unique: bool | None = False) -> bool:  # noqa: ARG002
        """Return whether the field is indexed: what is indexed is fixed when the store is made."""
        return key == "_id" or key in self.indexes

    def update(self, docs: list[Document] | Document, key: list[str] | str | None = None) -> None:
        """Replace or insert documents, each found by its values of ``key``, in one transaction."""
        documents = docs if isinstance(docs, list) else [docs]
        fields = [key] if isinstance(key, str) else list(key or [self.key])
        plain = [jsanitize(doc, allow_bson=True, recursive_msonable=True) for doc in documents]
        self._collection.replace_many(plain, fields)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, SqliteStore)
            and self.path == other.path
            and self.collection_name == other.collection_name
        )

    def __hash__(self) -> int:
        return hash((self.path, self.collection_name))


__all__ = ["SqliteStore"]
