"""The store is beside the campaign unless jobflow.yaml says otherwise."""

import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
import yaml
from jobflow import JobStore
from maggma.core import StoreError
from maggma.stores import GridFSStore, MongoStore, MongoURIStore

from nepal_flows.cli.exit_codes import ExitCode
from nepal_flows.errors import SettingsError, StoreUnavailableError
from nepal_flows.records import SqliteStore, job_store_from_settings
from nepal_flows.records.connection import shown_name, translated_errors
from nepal_flows.records.server_table import ServerTable
from nepal_flows.records.store import SERVER_TIMEOUT_MS, _give_up_soon, has_jobflow_configuration

TEMPLATE = Path(__file__).parents[3] / "fireworker_configs" / "login" / "jobflow.yaml"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JOBFLOW_CONFIG_FILE", raising=False)
    monkeypatch.delenv("JOBFLOW_JOB_STORE", raising=False)
    return tmp_path


def test_store_is_embedded_without_jobflow_yaml(home):
    assert isinstance(job_store_from_settings(home / "campaign").docs_store, SqliteStore)


def test_embedded_store_can_be_asked_for_beside_a_jobflow_yaml(home):
    (home / ".jobflow.yaml").write_text("JOB_STORE: {}\n")
    assert has_jobflow_configuration()
    store = job_store_from_settings(home / "campaign", kind="embedded")
    assert isinstance(store.docs_store, SqliteStore)


def test_unknown_kind_is_refused(home):
    with pytest.raises(SettingsError, match="`auto`, `jobflow`"):
        job_store_from_settings(home, kind="mongo")


def test_template_describes_a_store_on_mongodb():
    store = JobStore.from_dict_spec(yaml.safe_load(TEMPLATE.read_text())["JOB_STORE"])
    assert isinstance(store.docs_store, MongoStore)
    assert isinstance(store.additional_stores["records"], MongoStore)
    assert isinstance(store.additional_stores["blobs"], GridFSStore)


ASK = """
import sys
from nepal_flows.errors import SettingsError, StoreUnavailableError
from nepal_flows.records import Records, job_store_from_settings
try:
    store = job_store_from_settings(sys.argv[1])
except SettingsError as error:
    print(error)
else:
    print(type(store.docs_store).__name__, Records(store).blobs.put(b"x", "text").n_bytes)
"""


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a user who has nothing but a jobflow.yaml."""
    paths = os.pathsep.join(filter(None, sys.path))
    config = str(home / "jobflow.yaml")
    return {"HOME": str(home), "JOBFLOW_CONFIG_FILE": config, "PYTHONPATH": paths}


def ask(home: Path, yaml_text: str) -> str:
    (home / "jobflow.yaml").write_text(yaml_text)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ASK, str(home)],
        env=environment(home),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_jobflow_yaml_decides_where_there_is_one(home):
    text = """
    JOB_STORE:
      docs_store: {type: MemoryStore}
      additional_stores:
        records: {type: MemoryStore}
        blobs: {type: MemoryStore}
    """
    assert ask(home, text) == "MemoryStore 1\n"


def test_jobflow_yaml_without_our_stores_is_refused_with_the_remedy(home):
    answer = ask(home, "JOB_STORE: {docs_store: {type: MemoryStore}}\n")
    assert "no additional store named 'records'" in answer
    assert "NEPAL_STORE=embedded" in answer


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("JOB_STORE: {docs_store: {type: NoStore}}\n", "`NoStore` is no type of store"),
        ("JOB_STORE: [unclosed\n  a: b: c\n", "it is not YAML: line 2"),
        ("JOB_STOR: {docs_store: {type: MemoryStore}}\n", "`JOB_STOR` is no key of it"),
        ("JOB_STORE: {docs: {password: geheim}}\n", "`JOB_STORE` has no `docs_store`"),
        (
            "JOB_STORE: {docs_store: {type: MongoStore, password: geheim}}\n",
            "a MongoStore lacks `database` and `collection_name`",
        ),
        (
            "JOB_STORE: {docs_store: {type: MongoStore, hots: a, password: geheim, database: d, "
            "collection_name: c}}\n",
            "`hots` is no option of its store",
        ),
        ("- a\n", "it is not a mapping"),
    ],
)
def test_jobflow_yaml_with_an_error_is_refused_and_what_is_wrong_is_named(home, text, what):
    answer = ask(home, text)
    assert f"{home}/jobflow.yaml cannot be used: {what}" in answer
    assert "Correct it after fireworker_configs/login/jobflow.yaml" in answer
    assert "geheim" not in answer


def test_command_that_meets_a_wrong_jobflow_yaml_names_it(home, write_campaign):
    (home / "jobflow.yaml").write_text("JOB_STORE: [unclosed\n")
    code = "import sys\nfrom nepal_flows.cli.app import run_app\nsys.exit(run_app(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, "run", str(write_campaign(home / "c"))],
        env=environment(home),
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"error: {home}/jobflow.yaml cannot be used: it is not YAML" in done.stderr
    assert done.returncode == ExitCode.BAD_INPUT


def test_server_that_does_not_answer_is_given_up_within_seconds(home, monkeypatch):
    spec = yaml.safe_load(TEMPLATE.read_text())["JOB_STORE"]
    for store in (spec["docs_store"], *spec["additional_stores"].values()):
        store["port"] = 9  # discard: nobody listens
    (home / ".jobflow.yaml").write_text(yaml.safe_dump({"JOB_STORE": spec}))
    began = time.monotonic()
    command = [sys.executable, "-W", "ignore", "-c", ASK_SERVER, str(home / "campaign")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "does not answer" in done.stdout, done.stderr
    assert "localhost:9" in done.stdout
    assert "Topology" not in done.stdout
    assert time.monotonic() - began < 25.0  # imports included; it was more than 30


ASK_SERVER = ASK.replace("SettingsError", "StoreUnavailableError")


def test_timeout_of_jobflow_yaml_wins(home):
    patient = MongoStore("a", "b", mongoclient_kwargs={"serverSelectionTimeoutMS": 60000})
    store = JobStore(patient, additional_stores={"records": MongoStore("a", "c")})
    _give_up_soon(store)
    assert patient.mongoclient_kwargs["serverSelectionTimeoutMS"] == 60000
    quick = store.additional_stores["records"]
    assert quick.mongoclient_kwargs["serverSelectionTimeoutMS"] == SERVER_TIMEOUT_MS


def test_password_that_nobody_encoded_is_in_no_message():
    uri = "mongodb://anna:s3cr/et@db.example.org/campaigns"
    place = {"uri": uri, "database": "campaigns", "collection_name": "records"}
    with pytest.raises(StoreUnavailableError, match="percent-encoded") as error:
        ServerTable(place)
    assert "mongodb://db.example.org/campaigns" in str(error.value)
    assert "s3cr" not in str(error.value)
    assert "et@" not in str(error.value)


def test_password_of_a_store_is_in_no_message():
    uri = "mongodb://anna:s3cret@localhost:27017/?x=a@b"
    with warnings.catch_warnings():  # newer versions of maggma prefer another name
        warnings.simplefilter("ignore", FutureWarning)
        store = MongoURIStore(uri, "records", database="db")
    assert shown_name(store) == "mongodb://localhost:27017/?x=a@b"
    with pytest.raises(StoreUnavailableError) as error, translated_errors(store):
        raise StoreError("no")
    assert "s3cret" not in str(error.value)
