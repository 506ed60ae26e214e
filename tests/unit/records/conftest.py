"""Stores to test with: the embedded one, and one that stands in for MongoDB."""

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore

from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import Ancestry, BlobRef, LabelDoc


def memory_job_store() -> JobStore:
    """Return a JobStore as jobflow.yaml makes it, with mongomock in the place of MongoDB."""
    return JobStore(
        MemoryStore(), {"records": MemoryStore("records"), "blobs": MemoryStore("blobs")}
    )


@pytest.fixture(params=["embedded", "mongo"])
def job_store(request, tmp_path):
    if request.param == "embedded":
        store = embedded_job_store(tmp_path / "store")
    else:
        store = memory_job_store()
        store.connect()
    yield store
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
