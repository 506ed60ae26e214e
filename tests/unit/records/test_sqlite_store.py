"""The embedded store keeps every acknowledged write, whatever happens to its process."""

import json
import math
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from jobflow import JobStore
from maggma.stores import MemoryStore
from monty.json import MontyDecoder

from nepal_flows.errors import RecordError, StoreUnavailableError
from nepal_flows.records import Records, SqliteStore, embedded_job_store
from nepal_flows.records.sqlite_collection import SqliteCollection, is_on_network
from nepal_flows.schemas import LabelDoc

DOCUMENTS = [
    {"_id": "a", "n": 1, "tags": ["x", "y"], "in": {"depth": 1.5, "name": "one"}, "flag": True},
    {"_id": "b", "n": 2, "tags": [], "in": {"depth": 2.5}, "flag": False},
    {"_id": "c", "n": None, "tags": ["y"], "runs": [{"step": 1, "t": 2}, {"step": 3, "t": 4}]},
    {"_id": "d", "n": "2", "tags": "y", "in": {"depth": 3}, "flag": None},
]

CRITERIA = [
    {},
    {"n": 2},
    {"n": None},
    {"n": {"$in": [1, "2"]}},
    {"n": {"$in": [1, None]}},
    {"n": {"$in": []}},
    {"n": {"$gte": 1}},
    {"n": {"$ne": 1}},
    {"flag": True},
    {"tags": "y"},
    {"tags": ["y"]},
    {"tags": {"$size": 0}},
    {"in.depth": {"$gt": 1.5}},
    {"in.name": {"$exists": False}},
    {"runs.step": 3},
    {"runs": {"$elemMatch": {"step": 3, "t": 4}}},
    {"$and": [{"n": {"$exists": True}}, {"$nor": [{"n": 1}, {"tags": "x"}]}]},
    {"_id": {"$in": ["a", "d", "z"]}, "n": "2"},
    {"_id": {"$regex": "^[ab]"}},
]


@pytest.fixture
def store(tmp_path) -> SqliteStore:
    store = SqliteStore(tmp_path / "s.sqlite", "things", indexes=["n"], key="_id")
    store.connect()
    yield store
    store.close()


@pytest.fixture
def both(store):
    reference = MemoryStore(key="_id")
    reference.connect()
    for each in (store, reference):
        each.update(DOCUMENTS)
    return store, reference


@pytest.mark.parametrize("criteria", CRITERIA, ids=json.dumps)
def test_queries_agree_with_mongomock(both, criteria):
    store, reference = both
    expected = sorted(reference.query(criteria), key=lambda document: document["_id"])
    assert sorted(store.query(criteria), key=lambda document: document["_id"]) == expected
    assert store.count(criteria) == len(expected)


@pytest.mark.parametrize(
    "properties",
    [
        ["n"],
        ["in.depth", "_id"],
        {"n": 1, "_id": 0},
        ["runs.step"],
        {"in": 0},
        {"_id": 1},
        ["none"],
    ],
    ids=str,
)
def test_projections_agree_with_mongomock(both, properties):
    store, reference = both
    assert list(store.query(properties=properties)) == list(reference.query(properties=properties))


@pytest.mark.parametrize("sort", [{"n": 1}, {"n": -1}, {"in.depth": -1, "_id": 1}], ids=str)
@pytest.mark.parametrize("cut", [{}, {"skip": 1}, {"limit": 2}, {"skip": 1, "limit": 2}], ids=str)
def test_orders_agree_with_mongomock(both, sort, cut):
    store, reference = both
    assert list(store.query(sort=sort, **cut)) == list(reference.query(sort=sort, **cut))


def test_groups_and_distinct_values_agree_with_mongomock(both):
    store, reference = both
    assert sorted(store.distinct("tags")) == sorted(reference.distinct("tags")) == ["x", "y"]
    groups = {group["in"]["name"]: len(found) for group, found in store.groupby("in.name")}
    assert groups == {"one": 1}


def test_true_is_not_one(both):
    store, _ = both
    assert store.count({"n": True}) == 0
    assert store.count({"flag": 1}) == 0


def test_update_replaces_by_key_and_keeps_the_id(store):
    store.update(
        [{"uuid": "u", "index": 1, "v": 1}, {"uuid": "u", "index": 2, "v": 2}], ["uuid", "index"]
    )
    first = store.query_one({"uuid": "u", "index": 1})
    store.update({"uuid": "u", "index": 1, "v": 3}, ["uuid", "index"])
    assert store.query_one({"uuid": "u", "index": 1}) == first | {"v": 3}
    assert store.count() == 2


def test_failed_update_of_several_documents_writes_none(store):
    with pytest.raises(RecordError, match="indexed field"):
        store.update([{"_id": "a", "n": 1}, {"_id": "b", "n": [1]}])
    assert store.count() == 0


def test_dates_and_odd_floats_come_back(store):
    moment = datetime(2024, 5, 6, 7, 8, 9)
    store.update({"_id": "a", "when": moment, "x": [math.nan, math.inf, 1e-300, 2**62]})
    back = store.query_one({"_id": "a"})
    assert back["when"] == moment
    assert math.isnan(back["x"][0])
    assert back["x"][1:] == [math.inf, 1e-300, 2**62]


def test_store_serialises_by_its_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job_store = embedded_job_store("here")
    job_store.update({"uuid": "u", "index": 1, "output": 5})
    monkeypatch.chdir("/")
    code = "import sys, json; from monty.json import MontyDecoder; "
    code += "s = MontyDecoder().process_decoded(json.load(sys.stdin)); "
    code += "s.connect(); print(s.get_output('u'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(job_store.as_dict()),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "5\n"
    assert isinstance(MontyDecoder().process_decoded(job_store.as_dict()), JobStore)


def test_index_added_later_covers_what_is_there(tmp_path):
    path = tmp_path / "s.sqlite"
    old = SqliteCollection(path, "things")
    old.insert_one({"_id": "a", "colour": "red"})
    old.close()
    new = SqliteCollection(path, "things", indexes=["colour"])
    assert [document["_id"] for document in new.find({"colour": "red"})] == ["a"]
    new.close()


def test_reader_sees_what_another_process_wrote(store):
    code = (
        "import sys; from nepal_flows.records import SqliteStore; "
        "s = SqliteStore(sys.argv[1], 'things', indexes=['n'], key='_id'); s.connect(); "
        "s.update([{'_id': str(i), 'n': i} for i in range(5)])"
    )
    subprocess.run([sys.executable, "-c", code, store.path], check=True)
    assert store.count({"n": {"$in": [3, 4]}}) == 2


def test_threads_may_share_a_store(store):
    def write(start):
        for number in range(start, start + 25):
            store.update({"_id": str(number), "n": number})

    threads = [threading.Thread(target=write, args=(25 * number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 100


KILLED = """
import os, signal, sqlite3, sys, time
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import Ancestry, LabelDoc

directory = sys.argv[1]

def content(number):
    return str(number).encode() * 1000

def write(acknowledge):
    job_store = embedded_job_store(directory)
    records = Records(job_store)
    number = records.count(LabelDoc)
    while True:
        blob = records.blobs.put(content(number), "text")
        records.put(LabelDoc(key=str(number), structure_key="s", settings_key="p", status="done",
            labeler="ase", ancestry=Ancestry(source="seed"), formula="Cu", elements=["Cu"],
            n_atoms=1, volume_A3=1.0, frame=blob))
        job_store.update({"uuid": "loop", "index": 1, "output": number})
        os.write(acknowledge, b".")
        number += 1

n_before = 0
for attempt in range(40):
    read_end, write_end = os.pipe()
    writer = os.fork()
    if writer == 0:
        write(write_end)
    os.close(write_end)
    n_seen = sum(len(os.read(read_end, 1)) for _ in range(attempt % 4))  # however slow we are
    time.sleep(0.0005 * attempt)
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    n_new = n_seen + len(os.read(read_end, 10**6))
    n_acknowledged = n_before + n_new
    os.close(read_end)
    job_store = embedded_job_store(directory)
    records = Records(job_store)
    labels = {int(label.key): label for label in records.query(LabelDoc)}
    assert sorted(labels) == list(range(len(labels)))
    assert n_acknowledged <= len(labels) <= n_acknowledged + 1
    for number in range(n_before, len(labels)):
        assert records.blobs.get(labels[number].frame) == content(number)
    if n_new:
        assert n_acknowledged - 1 <= job_store.get_output("loop") < len(labels)
    job_store.close()
    n_before = len(labels)
file = sqlite3.connect(directory + "/store.sqlite")
assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
print(n_before)
"""


def test_kill_at_any_moment_loses_nothing_acknowledged(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path / "store")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_damaged_document_is_an_error_with_the_remedy(tmp_path):
    collection = SqliteCollection(tmp_path / "store.sqlite", "documents")
    collection.insert_one({"_id": "a"})
    with collection._transaction() as connection:
        connection.execute("UPDATE documents SET document = '{'")
    with pytest.raises(StoreUnavailableError, match="restore a copy"):
        list(collection.find())


def test_damaged_file_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "store.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreUnavailableError, match="move it away, or restore"):
        embedded_job_store(tmp_path)


def test_unwritable_directory_is_an_error_with_the_remedy(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match=r"store\.sqlite cannot be used"):
        embedded_job_store(tmp_path / "file")


def test_full_disk_is_an_error_and_what_was_there_stays(store):
    store.update({"_id": "a", "n": 1})
    store._coll._connection.execute("PRAGMA max_page_count = 12")
    with pytest.raises(StoreUnavailableError, match="Free some space"):
        store.update([{"_id": str(number), "text": "x" * 1000} for number in range(100)])
    assert [document["_id"] for document in store.query()] == ["a"]


def test_closed_store_says_so(store):
    collection = store._coll
    store.close()
    with pytest.raises(StoreUnavailableError, match="closed"):
        collection.count_documents({})


def test_look_ups_stay_quick_with_ten_thousand_labels(tmp_path, make_label):
    job_store = embedded_job_store(tmp_path)
    records = Records(job_store)
    base = make_label().record()
    labels = [
        base | {"_id": f"label:{n}", "key": str(n), "iteration": n // 50} for n in range(10_000)
    ]
    records.store._collection.replace_many(labels, ["_id"])
    start = time.perf_counter()
    for number in range(0, 10_000, 100):
        assert records.find(LabelDoc, str(number)) is not None
    assert records.count(LabelDoc) == 10_000
    assert records.count(LabelDoc, {"iteration": 7}) == 50
    assert time.perf_counter() - start < 1.0
    job_store.close()


def test_local_directories_are_not_on_the_network():
    assert not is_on_network(Path("/proc/self/status"))
