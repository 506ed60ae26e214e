"""Bytes are kept once, under their hash, and verified when they come back."""

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from maggma.stores import MemoryStore

from nepal_flows.errors import BlobError, StoreUnavailableError
from nepal_flows.records import BlobDirectory, Blobs

CONTENT = bytes(range(256)) * 10


@pytest.fixture
def directory(tmp_path) -> BlobDirectory:
    return BlobDirectory(tmp_path / "blobs")


def test_bytes_come_back(records):
    reference = records.blobs.put(CONTENT, "frames.npz")
    assert reference.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert reference.n_bytes == len(CONTENT)
    assert records.blobs.get(reference) == CONTENT
    assert records.blobs.get(reference.sha256) == CONTENT


def test_same_bytes_are_kept_once(records):
    for _ in range(2):
        records.blobs.put(CONTENT, "frames.npz")
    assert records.blobs.store.count({}) == 1


def test_missing_blob_is_an_error(records):
    with pytest.raises(BlobError, match="is missing"):
        records.blobs.get("0" * 64)


def test_removed_blob_is_gone(records):
    reference = records.blobs.put(CONTENT, "x")
    records.blobs.remove(reference)
    assert not records.blobs.has(reference)


def test_damaged_file_is_an_error_and_is_healed_by_the_next_put(directory):
    blobs = Blobs(directory)
    reference = blobs.put(CONTENT, "x")
    file = Path(directory.path) / reference.sha256[:2] / reference.sha256
    file.chmod(0o644)
    file.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(BlobError, match="does not match its hash"):
        blobs.get(reference)
    blobs.put(CONTENT, "x")
    assert blobs.get(reference) == CONTENT


def test_damaged_document_is_an_error():
    blobs = Blobs(MemoryStore(key="blob_uuid"))
    reference = blobs.put(CONTENT, "x")
    blobs.store.update({"blob_uuid": reference.sha256, "data": "AAAA"}, key="blob_uuid")
    with pytest.raises(BlobError, match="does not match its hash"):
        blobs.get(reference)


def test_directory_behaves_as_a_store_of_documents(directory):
    source = MemoryStore(key="blob_uuid")
    reference = Blobs(source).put(CONTENT, "x")
    directory.connect()
    directory.update(list(source.query()))
    (document,) = directory.query({"blob_uuid": {"$in": [reference.sha256]}})
    assert document["data"] == source.query_one()["data"]
    assert directory.count() == 1
    assert directory.count({"job_uuid": "x"}) == 0
    assert [group for group, _ in directory.groupby("blob_uuid")] == [
        {"blob_uuid": reference.sha256}
    ]
    directory.remove_docs({"job_uuid": "x"})
    assert directory.distinct("blob_uuid") == [reference.sha256]


def test_directory_refuses_content_under_another_hash(directory):
    directory.connect()
    with pytest.raises(BlobError, match="not the SHA-256"):
        directory.update({"blob_uuid": "0" * 64, "data": "AAAA"})


def test_unwritable_directory_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match="writable"):
        Blobs(BlobDirectory(tmp_path / "file" / "blobs"))


def test_full_disk_leaves_nothing_and_is_an_error(tmp_path):
    code = f"""
        import resource, signal
        from nepal_flows.errors import StoreUnavailableError
        from nepal_flows.records import BlobDirectory, Blobs
        blobs = Blobs(BlobDirectory({str(tmp_path / "blobs")!r}))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            blobs.put(b"x" * 5000, "x")
        except StoreUnavailableError as error:
            print("refused", error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert "refused" in done.stdout
    assert "Free some space" in done.stdout
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
