"""A campaign goes from `nepal submit` to its end through a queue, each job on its kind of worker.

Exploration is sent to the ``gpu`` worker here, as GPUMD's would be; the engine is our own.
"""

import base64
import json

import pytest

from cluster_site import KINDS, SECRET
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cluster.submit import add_remaining
from nepal_flows.errors import CampaignError
from nepal_flows.flows import run_campaign
from nepal_flows.flows.registration import register_campaign
from nepal_flows.jobs.routing import ANY_OTHER, LABEL_BUNDLE
from nepal_flows.schemas import IterationDoc, LabelDoc, TrainingDoc
from nepal_flows.settings import Settings

pytestmark = pytest.mark.integration

ROUTES = {ANY_OTHER: "cpu", LABEL_BUNDLE: "dft", "explore": "gpu"}


@pytest.fixture(scope="module")
def finished(make_site, write_campaign, tmp_path_factory):
    """A campaign of three iterations, two a workflow, that three kinds of workers finished."""
    site = make_site(tmp_path_factory.mktemp("site"))
    site.settings["NEPAL_ITERATIONS_PER_WORKFLOW"] = "2"
    path = write_campaign(site.folder / "campaign")
    loaded = load_campaign(path)
    launchpad, records = site.launchpad, site.records
    launchpad.reset("", require_password=False)
    document = register_campaign(records, loaded)
    settings = Settings(label_bundle=2, explore_bundle=1)
    assert add_remaining(
        launchpad, records, loaded.campaign, document, settings=settings, routes=ROUTES
    )
    with site.workers():
        site.ended = site.wait()
    return site, path


@pytest.fixture(scope="module")
def local(write_campaign, tmp_path_factory):
    """The same campaign, run on this machine without a queue."""
    return run_campaign(write_campaign(tmp_path_factory.mktemp("local")))


def test_campaign_under_a_queue_ends_as_one_that_runs_here(finished, local):
    site, _ = finished
    assert site.ended.end_state == local.campaign.end_state
    assert site.ended.final_model_key == local.campaign.final_model_key
    records = site.records
    for kind in (LabelDoc, TrainingDoc, IterationDoc):
        there = sorted(document.key for document in records.query(kind))
        assert there == sorted(document.key for document in local.records.query(kind))


def test_every_job_ran_on_its_own_kind_of_worker_through_all_iterations(finished):
    site, _ = finished
    workers = {}
    for launch in site.database.launches.find():
        name = site.database.fireworks.find_one({"fw_id": launch["fw_id"]})["name"]
        workers.setdefault(name, []).append(launch["fworker"]["name"])
    assert set(workers.pop(LABEL_BUNDLE)) == {"dft"}
    assert set(workers["explore"]) == {"gpu"}
    assert len(workers.pop("explore")) == 6  # two conditions in each of three iterations
    assert {name for names in workers.values() for name in names} == {"cpu"}
    assert {"train", "select", "assess", "decide", "gather labels", "close"} <= set(workers)
    assert len(workers["decide"]) == 3


def test_long_campaign_goes_on_in_a_new_workflow(finished):
    site, _ = finished
    workflows = list(site.database.workflows.find())
    assert len(workflows) == 2
    assert {workflow["state"] for workflow in workflows} == {"COMPLETED"}
    assert {w["metadata"]["campaign_id"] for w in workflows} == {site.ended.key}


def test_an_iteration_has_few_jobs_and_no_job_holds_a_structure_or_a_credential(finished):
    site, _ = finished
    assert site.database.fireworks.count_documents({}) < 3 * 50
    for collection in (site.database.fireworks, site.database.launches, site.database.workflows):
        for document in collection.find():
            text = json.dumps(document, default=str)
            assert len(text) < 200_000
            assert site.server.uri not in text
            for word in ("positions", "lattice", "frac_coords", "password", "mongodb://"):
                assert word not in text


def test_no_document_log_or_report_holds_a_credential(finished):
    site, path = finished
    for file in ("jobflow.yaml", "my_launchpad.yaml"):
        for kind in ("login", *KINDS):
            assert SECRET in (site.configs / kind / file).read_text()
    site.nepal("report", path, "--out", site.folder / "report.html")
    told = "".join(site.nepal(*c, code=None).stdout for c in (("status", path), ("doctor",)))
    texts = {"commands": told.encode()}
    for name in site.database.list_collection_names():
        documents = list(site.database[name].find())
        texts[name] = json.dumps(documents, default=str).encode()
    blobs = site.job_store.additional_stores["blobs"]
    texts["blobs"] = b"".join(base64.b64decode(found["data"]) for found in blobs.query())
    files = (file for file in site.folder.rglob("*") if file.is_file())
    texts |= {str(f): f.read_bytes() for f in files if site.configs not in f.parents}
    assert {"records", "outputs", "fireworks", "launches", "workflows"} <= set(texts)
    assert any(name.endswith("report.html") for name in texts)
    assert any(name.endswith(".log") for name in texts)
    found = [
        name
        for name, text in texts.items()
        if SECRET.encode() in text or site.server.uri.encode() in text
    ]
    assert found == []


def test_deciding_job_that_is_run_anew_adds_no_job(finished):
    site, _ = finished
    jobs, documents = site.database.fireworks, site.database.records
    before = jobs.count_documents({}), documents.count_documents({})
    for name in ("decide", "label"):
        first = jobs.find_one({"name": name}, sort=[("fw_id", 1)])
        assert site.lpad("rerun_fws", "-i", str(first["fw_id"])).returncode == 0
    assert site.queue().is_active
    with site.workers(["cpu", "dft", "gpu"]):
        site.wait()
    assert (jobs.count_documents({}), documents.count_documents({})) == before


def test_commands_of_fireworks_and_queries_answer(finished):
    site, path = finished
    wflows = json.loads(site.lpad("get_wflows", "-q", '{"metadata.campaign": "small"}').stdout)
    assert {workflow["state"] for workflow in wflows} == {"COMPLETED"}
    labels = site.nepal_json("query", "labels", "--campaign", path)
    assert labels["n"] == site.records.count(LabelDoc)
    assert "nothing left" in site.nepal("status", "small").stdout


def test_second_submit_of_an_active_campaign_says_so_and_adds_nothing(site, write_campaign):
    path = write_campaign(site.folder / "campaign")
    first = site.nepal_json("submit", path)
    assert first["is_new"]
    n_jobs = site.database.fireworks.count_documents({})
    second = site.nepal("submit", path)
    assert "in the queue already: nothing was added" in second.stdout
    assert second.stdout.startswith(first["campaign_id"])
    assert site.database.fireworks.count_documents({}) == n_jobs
    text = site.nepal("status", path).stdout
    assert "1 ready" in text
    assert "make seeds waiting for cpu" in text


def test_two_submissions_at_once_add_one_workflow(site, write_campaign):
    path = write_campaign(site.folder / "campaign")
    document = site.submit(path).campaign
    campaign = load_campaign(path).campaign
    settings = Settings()
    assert not add_remaining(site.launchpad, site.records, campaign, document, settings=settings)
    assert site.database.workflows.count_documents({}) == 1


def test_file_with_another_model_is_refused(site, write_campaign):
    path = write_campaign(site.folder / "campaign")
    site.submit(path)
    path.write_text(path.read_text().replace("neuron: 4", "neuron: 5"))
    with pytest.raises(CampaignError, match="`model`"):
        site.submit(path)


def test_nonsense_is_refused_as_plan_does(site, write_campaign):
    path = write_campaign(site.folder / "campaign")
    path.write_text(path.read_text().replace("neuron: 4", "neuron: 500"))
    assert site.nepal("submit", path, code=2).stderr
    assert "fireworks" not in site.database.list_collection_names()
