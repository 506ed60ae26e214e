"""Documents are found by kind and key, stored once, and claimed by one owner at a time."""

import threading
from types import SimpleNamespace

import pytest
from jobflow import SETTINGS, Flow, JobConfig, JobOrder, JobStore, job, run_locally
from maggma.stores import MemoryStore

from nepal_flows.errors import RecordError, SettingsError
from nepal_flows.records import Records
from nepal_flows.schemas import CampaignDoc, ExplorationDoc, LabelDoc


def campaign(**fields) -> CampaignDoc:
    structures = {"sha256": "d" * 64, "n_bytes": 1, "format": "frames.npz"}
    base = {"key": "copper", "name": "copper", "settings": {}, "identity": "i"}
    return CampaignDoc(**base | {"structures": structures, "structure_names": ["fcc"]} | fields)


def test_document_comes_back_as_it_was_put(records, make_label):
    label = make_label(inputs={"kpts": [4, 4, 4], "smearing": {"kind": "fd", "width_K": 1000.0}})
    records.put(label)
    assert records.find(LabelDoc, "k") == label


def test_missing_document_is_none_and_load_says_so(records):
    assert records.find(LabelDoc, "nothing") is None
    with pytest.raises(RecordError, match="no label with key nothing"):
        records.load(LabelDoc, "nothing")


def test_second_put_of_a_key_returns_the_first(records, make_label):
    first, second = make_label(energy_eV=-1.0), make_label(energy_eV=-2.0)
    records.put(first)
    assert records.put(second) == first
    assert records.count(LabelDoc) == 1


def test_kinds_share_keys_without_meeting(records, make_label):
    records.put(make_label("copper"))
    records.put(campaign())
    assert records.find(CampaignDoc, "copper").name == "copper"
    assert records.find(LabelDoc, "copper").n_atoms == 2
    assert records.find(ExplorationDoc, "copper") is None


def test_keys_with_dots_and_dollars_survive(records):
    settings = {"300.5 K": {"$set": 1, "50%2E": [{"a.b": 2}]}}
    records.put(campaign(settings=settings))
    assert records.find(CampaignDoc, "copper").settings == settings
    stored = records.store.query_one({"_id": "campaign:copper"})
    assert not any("." in name or name.startswith("$") for name in stored["settings"])


def test_only_campaigns_are_replaced(records, make_label):
    records.put(campaign())
    records.replace(campaign(end_state="converged"))
    assert records.find(CampaignDoc, "copper").end_state == "converged"
    assert records.count(CampaignDoc) == 1
    with pytest.raises(RecordError, match="never changes"):
        records.replace(make_label())


def test_query_speaks_mongodb(records, make_label):
    for number in range(6):
        ancestry = {"source": "exploration", "gamma": float(number), "condition": "melt"}
        elements = ["Cu", "Au"] if number % 2 else ["Cu"]
        records.put(
            make_label(str(number), iteration=number // 2, ancestry=ancestry, elements=elements)
        )
    records.put(campaign())

    def found(criteria):
        return sorted(document.key for document in records.query(LabelDoc, criteria))

    assert found({}) == list("012345")
    assert found({"elements": "Au"}) == list("135")
    assert found({"iteration": 1}) == list("23")
    assert found({"iteration": {"$in": [0, 2]}}) == list("0145")
    assert found({"iteration": {"$gte": 1}, "elements": {"$size": 1}}) == list("24")
    assert found({"ancestry.gamma": {"$gt": 2.5, "$lt": 4.5}}) == list("34")
    assert found({"$or": [{"key": "0"}, {"ancestry.gamma": 5.0}]}) == list("05")
    assert found({"reason": None, "key": {"$ne": "0"}}) == list("12345")
    assert found({"formula": {"$regex": "^Cu"}, "key": {"$in": ["1", "9"]}}) == ["1"]
    assert found({"iteration": None}) == []
    assert records.count(LabelDoc, {"elements": "Au"}) == 3
    assert records.count(LabelDoc, {"iteration": 1}) == 2


def test_query_sorts_and_limits(records, make_label):
    for number in (2, 0, 3, 1):
        records.put(make_label(str(number), energy_eV=-float(number), iteration=number // 2))
    by_energy = records.query(LabelDoc, sort={"energy_eV": 1}, limit=2)
    assert [document.key for document in by_energy] == ["3", "2"]
    by_both = records.query(LabelDoc, sort={"iteration": -1, "energy_eV": -1})
    assert [document.key for document in by_both] == ["2", "3", "0", "1"]


def test_rows_hold_only_what_is_asked_for(records, make_label):
    records.put(make_label())
    (row,) = records.rows(LabelDoc, {"key": "k"}, ["energy_eV", "ancestry.gamma"])
    assert row == {"energy_eV": -1.0, "ancestry": {"gamma": 3.2}}


def test_removed_document_can_be_put_again(records, make_label):
    records.put(make_label(status="quarantined"))
    records.remove(LabelDoc, "k")
    assert records.put(make_label()).status == "done"


def test_document_of_a_newer_version_is_refused(records, make_label):
    records.put(make_label())
    record = records.store.query_one({"_id": "label:k"}) | {"colour": "red", "code_version": "9.9"}
    records.store.update(record, key="_id")
    with pytest.raises(RecordError, match=r"written by nepal_flows 9\.9"):
        records.find(LabelDoc, "k")


def test_claim_is_granted_once(records):
    assert records.claim("label", "k", owner="elsewhere/b/1/1")
    assert not records.claim("label", "k", owner="elsewhere/b/2/2")
    assert records.claim("label", "k", owner="elsewhere/b/1/1")
    records.release("label", "k", owner="elsewhere/b/2/2")
    assert not records.claim("label", "k", owner="elsewhere/b/2/2")
    records.release("label", "k", owner="elsewhere/b/1/1")
    assert records.claim("label", "k", owner="elsewhere/b/2/2")


def test_claim_passes_on_when_it_was_seen_unchanged_for_its_lease(records, clocks):
    assert records.claim("label", "k", owner="elsewhere/b/1/1", lease_s=120.0)
    clocks.monotonic_s += 1000.0  # nobody else looked
    assert not records.claim("label", "k", owner="elsewhere/b/2/2", lease_s=1.0)
    clocks.monotonic_s += 119.0
    assert not records.claim("label", "k", owner="elsewhere/b/2/2", lease_s=1.0)
    clocks.monotonic_s += 1.0
    assert records.claim("label", "k", owner="elsewhere/b/2/2", lease_s=1.0)


@pytest.mark.parametrize("slow_s", [-1e6, 1e6])
def test_claim_holds_however_the_clocks_of_two_hosts_differ(records, clocks, slow_s):
    for _ in range(5):
        clocks.time_s -= slow_s
        assert records.claim("label", "k", owner="elsewhere/b/1/1", lease_s=120.0)  # it is renewed
        clocks.time_s += slow_s
        assert not records.claim("label", "k", owner="elsewhere/b/2/2", lease_s=120.0)
        clocks.monotonic_s += 110.0
        clocks.time_s += 110.0


def test_claim_of_an_older_version_passes_on_too(records, clocks):
    assert records.claim("label", "k", owner="elsewhere/b/1/1")
    (held,) = records.store._collection.find({"kind": "claim"})
    records.store._collection.delete_many({"kind": "claim"})
    records.store._collection.insert_one({k: v for k, v in held.items() if k != "lease_s"})
    assert not records.claim("label", "k", owner="elsewhere/b/2/2")
    clocks.monotonic_s += 120.0
    assert records.claim("label", "k", owner="elsewhere/b/2/2")


def test_claim_of_a_dead_process_of_this_host_is_taken_over(records, dead_process):
    assert records.claim("label", "k", owner=dead_process)
    assert records.claim("label", "k")


@pytest.fixture
def clocks(monkeypatch):
    """Clocks that the test sets; a worker's claims are told by its own."""
    now = SimpleNamespace(time_s=1e9, monotonic_s=1e3)
    fake = SimpleNamespace(time=lambda: now.time_s, monotonic=lambda: now.monotonic_s)
    monkeypatch.setattr("nepal_flows.records.records.time", fake)
    return now


def test_one_of_many_threads_gets_the_claim(records):
    granted = []
    barrier = threading.Barrier(8)

    def contend(number):
        barrier.wait()
        if records.claim("model", "k", owner=f"elsewhere/b/{number}/1"):
            granted.append(number)

    threads = [threading.Thread(target=contend, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1


def test_claims_are_no_documents(records):
    records.claim("label", "k")
    assert records.count(LabelDoc) == 0
    assert records.find(LabelDoc, "k") is None


def test_job_store_without_our_stores_is_refused_with_the_remedy():
    with pytest.raises(SettingsError, match="MongoStore"):
        Records(JobStore(MemoryStore()))


@job(config=JobConfig(expose_store=True))
def put_in_job(label):
    return Records.current().put(LabelDoc.model_validate(label)).key


@job
def look_without_store():
    try:
        Records.current()
    except RecordError as error:
        return str(error)
    return "found"


def test_job_reaches_the_records_of_its_store(job_store, make_label, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put, look = put_in_job(make_label().model_dump(mode="json")), look_without_store()
    flow = Flow([put, look], order=JobOrder.LINEAR)
    run_locally(flow, store=job_store, ensure_success=True, log=False)
    assert Records(job_store).find(LabelDoc, "k") is not None
    assert job_store.get_output(put.uuid) == "k"
    assert "expose_store=True" in job_store.get_output(look.uuid)


class LentStore(MemoryStore):
    """As jobflow-remote gives to a job in the place of its store."""


LentStore.__module__ = "jobflow_remote.remote.data"


def run_with_lent_store(label) -> None:
    lent = JobStore(LentStore(), {"records": MemoryStore("r"), "blobs": MemoryStore("b")})
    run_locally(put_in_job(label.model_dump(mode="json")), store=lent, raise_immediately=True)


def test_under_jobflow_remote_records_are_where_the_site_says(
    job_store, make_label, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobflow.yaml").touch()
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(tmp_path / "jobflow.yaml"))
    monkeypatch.setattr(SETTINGS, "JOB_STORE", job_store)
    run_with_lent_store(make_label())
    assert Records(job_store).find(LabelDoc, "k") is not None


def test_jobflow_remote_worker_without_jobflow_yaml_is_told_so(make_label, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JOBFLOW_JOB_STORE", raising=False)
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(tmp_path / "nowhere.yaml"))
    with pytest.raises(SettingsError, match=r"no jobflow\.yaml"):
        run_with_lent_store(make_label())
