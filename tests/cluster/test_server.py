"""The server that stands in for MongoDB does what campaigns and FireWorks rely on."""

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pymongo import MongoClient

from mongo_servers import URI_VARIABLE, listening_addresses
from nepal_flows.errors import RecordError
from nepal_flows.schemas import SelectionDoc

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
N_TAKEN = 100


def _take(uri, database, taken):
    with MongoClient(uri) as client:
        counter = client[database].counter
        update = {"$inc": {"n": 1}}
        taken.put([counter.find_one_and_update({}, update)["n"] for _ in range(N_TAKEN)])


def test_no_two_workers_take_the_same(site):
    site.database.counter.insert_one({"n": 0})
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    arguments = (site.server.uri, site.name, taken)
    workers = [context.Process(target=_take, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    numbers = [number for _ in workers for number in taken.get(timeout=60)]
    for worker in workers:
        worker.join()
    taken.close()
    taken.join_thread()
    assert sorted(numbers) == list(range(4 * N_TAKEN))


def test_server_of_the_tests_listens_to_this_machine_alone(server):
    if server.process is None:
        pytest.skip("the server is not ours")
    assert listening_addresses(server.process.pid) == {"127.0.0.1"}


def test_document_of_more_than_16_MB_is_refused_with_a_remedy(site):
    document = SelectionDoc.model_construct(key="k", campaign_id="x" * 17_000_000)
    with pytest.raises(RecordError, match="belong in a blob"):
        site.records.put(document)


def test_bytes_of_more_than_16_MB_are_kept(site):
    content = os.urandom(20_000_000)
    assert site.records.blobs.get(site.records.blobs.put(content, "frames.npz")) == content


def test_commands_of_fireworks_answer(site, write_campaign):
    """`lpad get_wflows -s created_on` is not among them: mongo-java-server cannot sort so."""
    site.submit(write_campaign(site.folder / "campaign"))
    for command in (
        ["detect_lostruns"],
        ["detect_unreserved"],
        ["report"],
        ["get_fws", "-d", "ids"],
    ):
        done = site.lpad(*command)
        assert done.returncode == 0, done.stderr[-1000:]
    states = json.loads(site.lpad("get_wflows", "-d", "less").stdout)["state"]
    assert states == "READY"


@pytest.mark.slow
def test_store_passes_its_tests_on_the_server(server):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "server"]
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "unit" / "records")],
        env=os.environ | {URI_VARIABLE: server.uri},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout
