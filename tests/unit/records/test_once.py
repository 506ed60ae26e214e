"""What several workers want is made once; what a dead one left is taken over."""

import threading
import time

import pytest

from nepal_flows.errors import StoreUnavailableError
from nepal_flows.records import made_once, make_missing, once
from nepal_flows.schemas import LabelDoc

ELSEWHERE = "elsewhere/b/1/1"


def test_document_that_exists_is_not_made_again(records, make_label):
    stored = records.put(make_label(key="k"))

    def never():
        raise AssertionError("made again")

    assert made_once(records, LabelDoc, "k", never) == stored


def test_only_what_is_missing_is_made_and_in_order(records, make_label):
    records.put(make_label(key="b"))
    asked = []

    def make(keys):
        asked.append(list(keys))
        for key in keys:
            records.put(make_label(key=key))

    make_missing(records, LabelDoc, ["c", "b", "a", "c"], make)
    assert asked == [["c", "a"]]


def test_threads_that_want_one_document_make_it_once(records, make_label, monkeypatch):
    monkeypatch.setattr("nepal_flows.records.records.this_process", _name_of_thread)
    made, got, barrier = [], [], threading.Barrier(4)

    def make():
        made.append(1)
        time.sleep(0.2)
        return make_label(key="k", energy_eV=float(len(made)))

    def want():
        barrier.wait()
        got.append(made_once(records, LabelDoc, "k", make))

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({document.energy_eV for document in got}) == 1
    assert len(got) == 4


def test_waits_for_another_and_takes_what_it_made(records, make_label):
    records.claim("label", "k", owner=ELSEWHERE)

    def finish():
        time.sleep(0.3)
        records.put(make_label(key="k"))
        records.release("label", "k", owner=ELSEWHERE)

    other = threading.Thread(target=finish)
    other.start()
    asked = []
    make_missing(records, LabelDoc, ["k"], asked.append)
    other.join()
    assert asked == []


def test_work_of_a_dead_process_is_taken_over_at_once(records, make_label, dead_process):
    records.claim("label", "k", owner=dead_process)
    document = made_once(records, LabelDoc, "k", lambda: make_label(key="k"))
    assert document.key == "k"


def test_work_of_a_silent_host_is_taken_over_when_its_lease_ends(records, make_label):
    records.claim("label", "k", owner=ELSEWHERE, lease_s=0.3)
    assert made_once(records, LabelDoc, "k", lambda: make_label(key="k")).key == "k"


def test_claims_are_renewed_while_the_work_lasts(records, make_label, monkeypatch):
    monkeypatch.setattr(once, "LEASE_S", 0.4)

    def make():
        time.sleep(1.0)
        assert not records.claim("label", "k", owner=ELSEWHERE)
        return make_label(key="k")

    made_once(records, LabelDoc, "k", make)


def test_claims_are_renewed_once_a_store_that_was_away_is_back(records, make_label, monkeypatch):
    monkeypatch.setattr(once, "LEASE_S", 0.8)
    claim, asked = records.claim, []

    def away_at_first(*arguments, **options):
        asked.append(1)
        if len(asked) == 2:
            raise StoreUnavailableError("away")
        return claim(*arguments, **options)

    monkeypatch.setattr(records, "claim", away_at_first)

    def make():
        time.sleep(1.6)
        assert not claim("label", "k", owner=ELSEWHERE)
        return make_label(key="k")

    made_once(records, LabelDoc, "k", make)
    assert len(asked) > 3


def test_failure_gives_the_claim_back(records):
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        made_once(records, LabelDoc, "k", fail)
    assert records.claim("label", "k", owner=ELSEWHERE)


def _name_of_thread():
    return f"elsewhere/b/{threading.get_ident()}/1"
