"""Without a terminal a stage says how it ended, and a long one how far it is."""

import pytest

from nepal_flows.cli import progress
from nepal_flows.cli.progress import CampaignProgress
from nepal_flows.jobs.progress import ProgressEvent


@pytest.fixture
def clock(monkeypatch):
    now = {"s": 0.0}
    monkeypatch.setattr(progress.time, "monotonic", lambda: now["s"])
    return now


def test_every_stage_ends_with_one_line(clock, capsys):
    with CampaignProgress() as show:
        show(ProgressEvent("train", 0, 10))
        clock["s"] = 7.0
        show(ProgressEvent("train", 10, 10, "12 meV/Å"))
        show(ProgressEvent("explore", 0, 3))
    assert capsys.readouterr().err.splitlines() == [
        "train           7.0 s  12 meV/Å",
        "explore         0.0 s",
    ]


def test_long_stage_says_once_a_minute_how_far_it_is(clock, capsys):
    with CampaignProgress() as show:
        for done in range(6):
            show(ProgressEvent("label", done, 5))
            clock["s"] += 25.0
        lines = capsys.readouterr().err.splitlines()
    assert lines == ["label          75.0 s  3 of 5"]


def test_quiet_shows_nothing(clock, capsys):
    with CampaignProgress(quiet=True) as show:
        show(ProgressEvent("label", 0, 5))
        clock["s"] = 100.0
        show(ProgressEvent("label", 1, 5))
    assert capsys.readouterr().err == ""
