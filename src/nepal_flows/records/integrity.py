"""Whether the bytes that documents name are there, and are what they were."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from nepal_flows.errors import BlobError
from nepal_flows.records.blobs import Blobs
from nepal_flows.schemas import BlobRef, Document, LabelDoc


@dataclass(frozen=True, eq=False)
class DamagedBlob:
    """Bytes that are missing or were changed.

    Attributes
    ----------
    document, field
        Who names them.
    reference
        Where they should be.
    reason
        What is wrong with them.
    """

    document: Document
    field: str
    reference: BlobRef
    reason: str


def damaged_blobs(blobs: Blobs, documents: Iterable[Document]) -> list[DamagedBlob]:
    """Return the blobs of documents that are missing or do not match their hash.

    Parameters
    ----------
    blobs
        Where they are kept; all are read.
    documents
        Whose blobs.
    """
    found = []
    for document in documents:
        for field, reference in _references(document, ""):
            try:
                blobs.get(reference)
            except BlobError as error:
                found.append(DamagedBlob(document, field, reference, str(error)))
    return found


def require_intact(blobs: Blobs, documents: Iterable[Document]) -> None:
    """Raise unless all bytes that documents name are there and are what they were.

    Raises
    ------
    BlobError
        If some are not; the message names the file, the document and the remedy.
    """
    found = damaged_blobs(blobs, documents)
    if not found:
        return
    lines = [
        f"  {blobs.place(item.reference)}: {item.field} of the {item.document.kind} "
        f"{item.document.key}"
        for item in found[:5]
    ]
    lines += [f"  ... and {len(found) - 5} more"] * (len(found) > 5)
    count = "A blob is" if len(found) == 1 else f"{len(found)} blobs are"
    remedy = "Copy it back from a backup of the campaign's folder."
    if any(isinstance(item.document, LabelDoc) for item in found):
        remedy += " Without one, `nepal run CAMPAIGN --retry-failed` makes damaged labels again."
    text = "\n".join(lines)
    raise BlobError(f"{count} damaged or missing:\n{text}\n{remedy}")


def _references(value: Any, name: str) -> Iterator[tuple[str, BlobRef]]:
    """Yield every blob that a document names, with the field that names it."""
    if isinstance(value, BlobRef):
        yield name, value
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _references(getattr(value, field), name or field)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _references(item, name)


__all__ = ["DamagedBlob", "damaged_blobs", "require_intact"]
