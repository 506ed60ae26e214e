"""An active set leads to its model, also where its document is older than the field for it."""

import pytest

from nepal_flows.errors import RecordError
from nepal_flows.jobs.stage import graded_model
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import ActiveSetDoc, BlobRef, Errors, TrainingDoc

_BLOB = BlobRef(sha256="0" * 64, n_bytes=0, format="none")


@pytest.fixture
def records(tmp_path):
    kept = Records(embedded_job_store(tmp_path))
    for key, sha256 in (("first", "a" * 64), ("second", "b" * 64)):
        kept.put(
            TrainingDoc(
                key=key,
                model_sha256=sha256,
                model=_BLOB,
                nep_in=_BLOB,
                history=_BLOB,
                dataset=_BLOB,
                dataset_key="",
                n_structures=1,
                n_atoms=2,
                elements=["Si"],
                trainer="native",
                seed=1,
                training_errors=Errors(n_structures=1, n_atoms=2),
            )
        )
    return kept


def _active_set(**fields):
    given = {"variant": "subspace", "rcond": 1e-6, "active_set": _BLOB, "coverage": []}
    return ActiveSetDoc(key="grader", **given, **fields)


def test_active_set_names_its_model(records):
    named = _active_set(model_key="first", model_sha256="b" * 64)
    assert graded_model(records, named).key == "first"


def test_old_document_without_the_name_is_read_and_found_by_hash(records):
    old = _active_set(model_sha256="b" * 64).record()
    del old["model_key"]
    records.store._collection.insert_one({"_id": "active_set:grader", **old})
    assert graded_model(records, records.load(ActiveSetDoc, "grader")).key == "second"


def test_a_model_that_is_gone_is_an_error_with_a_remedy(records):
    with pytest.raises(RecordError, match="trained anew"):
        graded_model(records, _active_set(model_sha256="c" * 64))
