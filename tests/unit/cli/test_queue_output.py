"""What is said of a campaign's queue is what can be known."""

from types import SimpleNamespace

import pytest

from nepal_flows.cli import queue_access, report_output, state
from nepal_flows.cli.cluster_output import stopped_lines
from nepal_flows.cluster import queue, queue_database
from nepal_flows.errors import CampaignLockedError, StoreUnavailableError
from nepal_flows.flows import registration


@pytest.mark.parametrize(
    ("end_state", "said"),
    [("stopped", "nepal resume small"), ("budget_exhausted", "nepal extend FILE --labels")],
)
def test_campaign_that_had_ended_is_extended_and_not_resumed(end_state, said):
    campaign = SimpleNamespace(name="small", end_state=end_state)
    lines = stopped_lines(SimpleNamespace(campaign=campaign, running=(), n_ended=0))
    assert said in lines[-1]


@pytest.mark.parametrize("held", [False, True])
def test_campaign_on_a_server_is_not_called_interrupted_where_no_queue_is_known(
    tmp_path, monkeypatch, held
):
    monkeypatch.setattr(state, "uses_server", lambda: True)
    monkeypatch.setattr(state, "is_running", lambda _: held)
    monkeypatch.setattr(queue_database, "plain_database", lambda: None)
    monkeypatch.setattr(queue_access, "located_launchpad", lambda **_: None)
    asked = []

    def newest(*_, is_running):
        asked.append(is_running)

    monkeypatch.setattr(report_output, "newest_data", newest)
    monkeypatch.setattr(report_output, "summary_lines", lambda _: ["small:", "  next        run"])
    campaign = SimpleNamespace(key="small-1", end_state=None)
    located = SimpleNamespace(directory=tmp_path, records=None, campaign=campaign)
    lines = report_output.status_lines(located, state.campaign_state(located))
    assert asked == [True if held else None]
    assert any("no my_launchpad.yaml was found" in line for line in lines) is not held


@pytest.fixture
def loaded(monkeypatch):
    """A campaign at a site with a database and a queue."""
    monkeypatch.setattr(queue_access, "uses_server", lambda: True)
    monkeypatch.setattr(queue_database, "plain_database", object)
    monkeypatch.setattr(registration, "campaign_key", lambda _: "small-1")
    return SimpleNamespace(campaign=SimpleNamespace(name="small"))


@pytest.mark.parametrize("is_empty", [True, False])
def test_campaign_in_the_queue_is_not_run_beside_its_workers(loaded, monkeypatch, is_empty):
    answer = SimpleNamespace(is_empty=is_empty)
    monkeypatch.setattr(queue, "campaign_queue", lambda *_: answer)
    if is_empty:
        queue_access.require_not_queued(loaded)
        return
    with pytest.raises(CampaignLockedError, match="take it out first: nepal stop small"):
        queue_access.require_not_queued(loaded)


def test_queue_that_is_away_is_told_and_does_not_stop_a_run(loaded, monkeypatch, capsys):
    def is_away():
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(queue_database, "plain_database", is_away)
    queue_access.require_not_queued(loaded)
    assert "not known: no answer" in capsys.readouterr().err
