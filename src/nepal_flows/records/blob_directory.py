"""Bytes in a directory, each file named by the SHA-256 of its content."""

import base64
import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from maggma.core import Store

from nepal_flows.errors import BlobError, StoreUnavailableError

_STALE_AFTER_S = 86400.0


class BlobDirectory(Store):
    """A content-addressed store of bytes in a directory: ``ab/abcdef...`` holds the bytes as given.

    It is a maggma store of documents ``{"blob_uuid": sha256, "data": base64}``, so that it can be
    replaced by GridFS in jobflow.yaml; ``write`` and ``read`` do without the detour.

    Parameters
    ----------
    path
        The directory, made where it is missing; it may lie on a shared file system.
    **kwargs
        As for every maggma store.
    """

    def __init__(self, path: str | Path, **kwargs: Any) -> None:
        self.path = str(Path(path).expanduser().absolute())
        self.kwargs = kwargs
        super().__init__(**{"key": "blob_uuid", **kwargs})

    @property
    def name(self) -> str:
        """What this store is, for messages."""
        return f"blobs://{self.path}"

    @property
    def _collection(self) -> "BlobDirectory":
        return self

    def connect(self, force_reset: bool = False) -> None:  # noqa: ARG002
        """Make the directory where it is missing, and clear what killed writers left.

        Raises
        ------
        StoreUnavailableError
            If it cannot be made.
        """
        with self._translating():
            self._scratch.mkdir(parents=True, exist_ok=True)
            for leftover in self._scratch.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - leftover.stat().st_mtime > _STALE_AFTER_S:
                        leftover.unlink()

    def close(self) -> None:
        """Nothing is held open."""

    def write(self, content: bytes) -> str:
        """Write bytes, synced and atomically, and return their SHA-256.

        Raises
        ------
        StoreUnavailableError
            If the disk is full or the directory cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        target = self.file(sha256)
        with self._translating():
            if target.exists() and target.read_bytes() == content:
                return sha256
            target.parent.mkdir(parents=True, exist_ok=True)
            self._scratch.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._scratch)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(name).chmod(0o444)
                Path(name).replace(target)
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _sync_directory(target.parent)
        return sha256

    def read(self, sha256: str) -> bytes:
        """Return the bytes kept under a hash, as they are on disk.

        Raises
        ------
        BlobError
            If there are none.
        """
        with self._translating():
            try:
                return self.file(sha256).read_bytes()
            except FileNotFoundError as error:
                raise BlobError(
                    f"The blob {self.file(sha256)} is missing. Copy it back from a backup; `nepal "
                    "report` says what it holds."
                ) from error

    def file(self, sha256: str) -> Path:
        """Return the file that holds, or would hold, the bytes of a hash."""
        return Path(self.path) / sha256[:2] / sha256

    def query(
        self,
        criteria: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | list[str] | None = None,  # noqa: ARG002
        sort: Mapping[str, Any] | None = None,  # noqa: ARG002
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Yield documents ``{"blob_uuid", "n_bytes", "data"}`` by ``blob_uuid`` (all if empty)."""
        names = sorted(self._names(criteria))[skip : skip + limit if limit else None]
        for sha256 in names:
            content = self.read(sha256)
            data = base64.b64encode(content).decode()
            yield {"blob_uuid": sha256, "n_bytes": len(content), "data": data}

    def count(self, criteria: Mapping[str, Any] | None = None) -> int:
        """Return the number of blobs that match."""
        return len(self._names(criteria))

    def update(
        self,
        docs: list[dict[str, Any]] | dict[str, Any],
        key: list[str] | str | None = None,  # noqa: ARG002
    ) -> None:
        """Write the base64 ``data`` of documents.

        Raises
        ------
        BlobError
            If the content does not have the hash that the document claims.
        """
        for document in docs if isinstance(docs, list) else [docs]:
            content = base64.b64decode(document["data"])
            if hashlib.sha256(content).hexdigest() != document["blob_uuid"]:
                raise BlobError(
                    f"`blob_uuid` {document['blob_uuid']} is not the SHA-256 of the data. This "
                    "store keeps content under its hash; use another one for other documents."
                )
            self.write(content)

    def remove_docs(self, criteria: Mapping[str, Any]) -> None:
        """Remove blobs by ``blob_uuid``; other criteria match nothing."""
        with self._translating():
            for sha256 in self._names(criteria):
                self.file(sha256).unlink(missing_ok=True)

    def ensure_index(self, key: str, unique: bool = False) -> bool:  # noqa: ARG002
        """Return whether look-ups by this field are quick."""
        return key == "blob_uuid"

    def groupby(
        self,
        keys: list[str] | str,
        criteria: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | list[str] | None = None,
        sort: Mapping[str, Any] | None = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Yield each blob as a group of its own: they differ in their only key."""
        if keys not in ("blob_uuid", ["blob_uuid"]):
            raise BlobError(f"Blobs can be grouped by `blob_uuid` alone, not by {keys!r}.")
        for document in self.query(criteria, properties, sort, skip, limit):
            yield {"blob_uuid": document["blob_uuid"]}, [document]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlobDirectory) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def _scratch(self) -> Path:
        return Path(self.path) / "incoming"

    def _names(self, criteria: Mapping[str, Any] | None) -> list[str]:
        if not criteria:
            return [file.name for file in Path(self.path).glob("??/*")]
        if list(criteria) != ["blob_uuid"]:
            return []
        wanted = criteria["blob_uuid"]
        names = wanted["$in"] if isinstance(wanted, Mapping) else [wanted]
        return [name for name in dict.fromkeys(names) if self.file(name).exists()]

    @contextlib.contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(
                f"The blob store {self.path} cannot be used: {error}. Free some space, or make the "
                "directory writable, then run the same command again: it continues."
            ) from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["BlobDirectory"]
