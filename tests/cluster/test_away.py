"""A database that is away: every command says so in one error, soon, and leaves all as it was."""

import socket
import time

import pytest

from mongo_servers import HOST, free_port
from nepal_flows.schemas import CampaignDoc

pytestmark = [pytest.mark.integration, pytest.mark.cluster]

SOON_S = 40.0
"""Ten seconds of patience and the start of a process, on a machine that does other things too."""

STORE_FAILED, PROBLEMS = 4, 6


@pytest.fixture(scope="module")
def submitted(make_site, write_campaign, tmp_path_factory):
    """A campaign in the queue, with nobody to work on it."""
    site = make_site(tmp_path_factory.mktemp("site"))
    path = write_campaign(site.folder / "campaign")
    site.submit(path)
    return site, path


@pytest.fixture(params=["nobody listens", "nobody answers"])
def closed_port(request):
    """A port at which no database answers."""
    if request.param == "nobody listens":
        yield free_port()
        return
    with socket.socket() as silent:
        silent.bind((HOST, 0))
        silent.listen(50)
        yield silent.getsockname()[1]


@pytest.fixture
def moved(submitted, closed_port):
    """Return a function that lets a configuration of the login node name that port."""
    site, _ = submitted
    folder, before = site.configs / "login", {}
    port = str(site.server.uri.rstrip("/").rsplit(":", 1)[1].split("/")[0])

    def move(*names):
        for name in names:
            before[name] = (folder / name).read_text()
            assert f"port: {port}" in before[name]
            (folder / name).write_text(
                before[name].replace(f"port: {port}", f"port: {closed_port}")
            )

    yield move
    for name, text in before.items():
        (folder / name).write_text(text)


def told(site, *arguments, code):
    """Return what a command says, which must be one error, soon."""
    began = time.monotonic()
    done = site.nepal(*arguments, code=code)
    assert time.monotonic() - began < SOON_S
    text = done.stdout + done.stderr
    assert "Traceback" not in text
    assert "nobody foresaw" not in text
    assert done.stderr.count("error:") == (code == STORE_FAILED)
    return text


def stands(site):
    """Return what is in the queue and of the campaign on record."""
    (document,) = site.records.query(CampaignDoc)
    return site.queue(), document


COMMANDS = (
    ("submit", "campaign/campaign.yaml"),
    ("stop", "small"),
    ("resume", "small"),
    ("extend", "campaign/campaign.yaml", "--labels", "30"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
@pytest.mark.parametrize("gone", ["my_launchpad.yaml", "jobflow.yaml"])
def test_command_that_needs_both_databases_changes_nothing(submitted, moved, command, gone):
    site, path = submitted
    before, text = stands(site), path.read_text()
    moved(gone)
    said = told(site, *command, code=STORE_FAILED)
    assert "does not answer" in said or "cannot be used" in said
    assert "server runs" in said
    assert stands(site) == before
    assert path.read_text() == text


def test_status_tells_what_is_on_record_where_the_queue_is_away(submitted, moved):
    site, _ = submitted
    moved("my_launchpad.yaml")
    said = told(site, "status", "small", code=STORE_FAILED)
    assert "small: " in said
    assert "queue       unknown: FireWorks' database does not answer" in said


@pytest.mark.parametrize("command", [("status", "small"), ("query", "labels", "-c", "small")])
def test_questions_say_that_the_records_are_away(submitted, moved, command):
    moved("jobflow.yaml")
    assert "does not answer" in told(submitted[0], *command, code=STORE_FAILED)


def test_doctor_names_every_database_that_is_away(submitted, moved):
    moved("my_launchpad.yaml", "jobflow.yaml")
    said = told(submitted[0], "doctor", "--fix", code=PROBLEMS)
    assert "PROBLEM The FireWorks database" in said
    assert "2 problems" in said


def test_database_that_goes_away_in_the_middle_is_no_surprise(nepal_that_loses_its_database):
    code, err = nepal_that_loses_its_database
    assert code == STORE_FAILED
    assert "error: the database went away: connection closed" in err
    assert "secret" not in err


@pytest.fixture
def nepal_that_loses_its_database(monkeypatch, capsys):
    """A command whose server dies once the command has begun."""
    from pymongo.errors import AutoReconnect

    from nepal_flows.cli import locate
    from nepal_flows.cli.app import run_app

    def dies(_):
        raise AutoReconnect("connection closed, Timeout: 30s, Topology: secret")

    monkeypatch.setattr(locate, "located_campaign", dies)
    return run_app(["status", "small"]), capsys.readouterr().err
