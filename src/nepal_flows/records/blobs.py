"""Bytes by their hash: frames, models, active sets and figures that documents refer to."""

import base64
import hashlib
from typing import Any

from nepal_flows.errors import BlobError
from nepal_flows.records.blob_directory import BlobDirectory
from nepal_flows.records.connection import shown_name, translated_errors
from nepal_flows.schemas.base import BlobRef


class Blobs:
    """Content-addressed bytes in a maggma store: a directory, GridFS, S3 or memory.

    Parameters
    ----------
    store
        A ``BlobDirectory`` takes the bytes as they are. Any other store takes documents
        ``{"blob_uuid": sha256, "n_bytes", "format", "data": base64}``, the form in which GridFS
        and its like keep what jobflow puts there.
    """

    def __init__(self, store: Any) -> None:
        self.store = store
        with translated_errors(store):
            store.connect()

    def put(self, content: bytes, format: str) -> BlobRef:
        """Keep bytes and return where they are; the same bytes are kept once.

        Raises
        ------
        StoreUnavailableError
            If the store is full or cannot be written.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        reference = BlobRef(sha256=sha256, n_bytes=len(content), format=format)
        if isinstance(self.store, BlobDirectory):
            self.store.write(content)
        elif not self.has(reference):
            document = {"blob_uuid": sha256, "n_bytes": len(content), "format": format}
            document["data"] = base64.b64encode(content).decode()
            with translated_errors(self.store):
                self.store.update(document, key="blob_uuid")
        return reference

    def get(self, reference: BlobRef | str) -> bytes:
        """Return the bytes of a reference (or of a hash), verified.

        Raises
        ------
        BlobError
            If they are missing or do not match their hash.
        """
        sha256 = reference if isinstance(reference, str) else reference.sha256
        content = self._content(sha256)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise BlobError(
                f"The blob {self.place(sha256)} does not match its hash: it was damaged. "
                "Copy it back from a backup; `nepal report` says what it holds."
            )
        return content

    def place(self, reference: BlobRef | str) -> str:
        """Return where the bytes are kept, for messages: a file, or a name in a store."""
        sha256 = reference if isinstance(reference, str) else reference.sha256
        if isinstance(self.store, BlobDirectory):
            return str(self.store.file(sha256))
        return f"{sha256} in {shown_name(self.store)}"

    def has(self, reference: BlobRef | str) -> bool:
        """Return whether the bytes are there."""
        sha256 = reference if isinstance(reference, str) else reference.sha256
        with translated_errors(self.store):
            return bool(self.store.count({"blob_uuid": sha256}))

    def remove(self, reference: BlobRef | str) -> None:
        """Remove bytes that nothing refers to any more."""
        sha256 = reference if isinstance(reference, str) else reference.sha256
        with translated_errors(self.store):
            self.store.remove_docs({"blob_uuid": sha256})

    def _content(self, sha256: str) -> bytes:
        if isinstance(self.store, BlobDirectory):
            return self.store.read(sha256)
        with translated_errors(self.store):
            document = self.store.query_one({"blob_uuid": sha256})
        if document is None:
            raise BlobError(
                f"The blob {self.place(sha256)} is missing. Copy it back from a backup; `nepal "
                "report` says what it holds."
            )
        return base64.b64decode(document["data"])


__all__ = ["Blobs"]
