"""Bytes that were cut, changed or lost are found, with the document that names them."""

import pytest

from nepal_flows.errors import BlobError
from nepal_flows.records import Records, damaged_blobs, embedded_job_store, require_intact
from nepal_flows.schemas import Ancestry, LabelDoc


@pytest.fixture
def records(tmp_path):
    return Records(embedded_job_store(tmp_path / "store"))


def label(records, key):
    return LabelDoc(
        key=key,
        structure_key=f"structure {key}",
        settings_key="settings",
        status="done",
        labeler="ase",
        ancestry=Ancestry(source="seed"),
        formula="Cu",
        elements=["Cu"],
        n_atoms=1,
        volume_A3=10.0,
        frame=records.blobs.put(key.encode() * 100, "frames.npz"),
    )


def cut(file):
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1])


def change(file):
    file.chmod(0o644)
    content = file.read_bytes()
    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def test_intact_bytes_pass(records):
    documents = [label(records, "a"), label(records, "b")]
    assert damaged_blobs(records.blobs, documents) == []
    require_intact(records.blobs, documents)


@pytest.mark.parametrize("spoil", [cut, change, lambda file: file.unlink()])
def test_damage_names_file_document_and_remedy(records, spoil):
    documents = [label(records, "a"), label(records, "b")]
    file = records.blobs.store.file(documents[1].frame.sha256)
    spoil(file)
    (found,) = damaged_blobs(records.blobs, documents)
    assert (found.document.key, found.field) == ("b", "frame")
    with pytest.raises(BlobError) as caught:
        require_intact(records.blobs, documents)
    assert str(file) in str(caught.value)
    assert "frame of the label b" in str(caught.value)
    assert "backup" in str(caught.value)
    assert "--retry-failed" in str(caught.value)


def test_the_first_of_many_are_named(records):
    documents = [label(records, f"label-{k}") for k in range(8)]
    for document in documents:
        cut(records.blobs.store.file(document.frame.sha256))
    with pytest.raises(
        BlobError, match=r"8 blobs are damaged or missing:(.*\n)+  \.\.\. and 3 more"
    ):
        require_intact(records.blobs, documents)
