"""The same flow under FireWorks: its queue on mongomock, which stands in for MongoDB.

mongomock keeps everything in one process and one file; limits of document size, indexes and
concurrent workers are not tested by it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nepal_flows.flows import run_campaign
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import IterationDoc, LabelDoc, TrainingDoc

DRIVER = Path(__file__).with_name("fireworks_driver.py")


@pytest.mark.integration
def test_fireworks_ends_with_the_same_models_and_labels_as_a_local_run(write_campaign, tmp_path):
    pytest.importorskip("mongomock_persistence")
    local = run_campaign(write_campaign(tmp_path / "local"))
    path = write_campaign(tmp_path / "fireworks")
    store = tmp_path / "store"
    store.mkdir()
    command = [sys.executable, "-W", "ignore", str(DRIVER), str(path), str(store)]
    environment = os.environ | {"MONGOMOCK_SERVERSTORE_FILE": str(tmp_path / "queue.json")}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    answer = json.loads(process.stdout.splitlines()[-1])
    assert set(answer["states"]) == {"COMPLETED"}
    assert answer["end_state"] == local.campaign.end_state
    records = Records(embedded_job_store(store))
    for kind in (LabelDoc, TrainingDoc, IterationDoc):
        there = sorted(document.key for document in records.query(kind))
        assert there == sorted(document.key for document in local.records.query(kind))
