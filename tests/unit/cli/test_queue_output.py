"""What is said of a campaign's queue is what can be known."""

from types import SimpleNamespace

import pytest

from nepal_flows.cli import report_output, state
from nepal_flows.cli.cluster_output import stopped_lines


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
    from nepal_flows.cli import queue_access
    from nepal_flows.cluster import queue_database

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
