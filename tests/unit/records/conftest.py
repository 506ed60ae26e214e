"""Stores to test with: the embedded one, one that stands in for MongoDB, and MongoDB itself.

The last where ``NEPAL_TEST_MONGO_URI`` names a server that speaks its protocol; each test gets a
database of its own there, which is dropped.
"""

import os
import subprocess
import sys
import uuid

import pytest
from jobflow import JobStore
from maggma.stores import GridFSStore, MemoryStore, MongoStore
from pymongo import MongoClient

from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import Ancestry, BlobRef, LabelDoc

SERVER = os.environ.get("NEPAL_TEST_MONGO_URI")


def memory_job_store() -> JobStore:
    """Return a JobStore as jobflow.yaml makes it, with mongomock in the place of MongoDB."""
    return JobStore(
        MemoryStore(), {"records": MemoryStore("records"), "blobs": MemoryStore("blobs")}
    )


def server_job_store(database: str) -> JobStore:
    """Return a JobStore as jobflow.yaml makes it, on the server that the environment names."""
    where = {"database": database, "uri": SERVER}
    return JobStore(
        MongoStore(collection_name="outputs", **where),
        {
            "records": MongoStore(collection_name="records", **where),
            "blobs": GridFSStore(collection_name="blobs", **where),
        },
    )


@pytest.fixture(params=["embedded", "memory", *(["server"] if SERVER else [])])
def job_store(request, tmp_path):
    database = f"nepal_test_{uuid.uuid4().hex[:12]}"
    if request.param == "embedded":
        store = embedded_job_store(tmp_path / "store")
    else:
        store = memory_job_store() if request.param == "memory" else server_job_store(database)
        store.connect()
        Records(store).ensure_indexes()
    yield store
    if request.param == "server":
        with MongoClient(SERVER) as client:
            client.drop_database(database)
    store.docs_store.close()
    for additional in store.additional_stores.values():
        additional.close()


@pytest.fixture
def records(job_store) -> Records:
    return Records(job_store)


@pytest.fixture
def make_label():
    def make(key: str = "k", **fields) -> LabelDoc:
        return LabelDoc(
            **{
                "key": key,
                "campaign_id": "copper",
                "iteration": 0,
                "structure_key": "a" * 64,
                "settings_key": "b" * 64,
                "status": "done",
                "labeler": "ase",
                "ancestry": Ancestry(source="exploration", condition="melt", gamma=3.2, step=50),
                "formula": "CuAu",
                "elements": ["Cu", "Au"],
                "n_atoms": 2,
                "volume_A3": 30.0,
                "frame": BlobRef(sha256="c" * 64, n_bytes=10, format="frames.npz"),
                "energy_eV": -1.0,
            }
            | fields
        )

    return make


@pytest.fixture
def dead_process() -> str:
    """A name that no living process has."""
    code = "from nepal_flows.records.owner import this_process; print(this_process())"
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
