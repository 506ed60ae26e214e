"""What `nepal doctor` says of claims in the store."""

import os

import pytest

from nepal_flows.cluster.doctor.store import _dead_claims
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.records.owner import this_process


@pytest.fixture
def records(tmp_path):
    return Records(embedded_job_store(tmp_path))


def test_claim_of_a_host_with_a_slow_clock_is_not_taken_for_a_dead_one(records):
    records.claim("label", "k", owner="elsewhere/b/1/1", lease_s=-3600.0)
    assert list(_dead_claims(records)) == []


def test_claims_that_nobody_renewed_for_days_and_those_of_dead_processes_are_removed(records):
    gone = this_process().replace(f"/{os.getpid()}/", "/4194305/")  # above the largest process id
    records.claim("label", "a", owner="elsewhere/b/1/1", lease_s=-2 * 86400.0)
    records.claim("label", "b", owner=gone)
    records.claim("label", "c")
    (finding,) = _dead_claims(records)
    finding.fix()
    left = records.store._collection.find({"kind": "claim"})
    assert [claim["key"] for claim in left] == ["label:c"]
