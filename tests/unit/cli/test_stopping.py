"""SIGTERM ends a run in order wherever it arrives."""

import os
import signal

import pytest

from nepal_flows.campaign import read
from nepal_flows.cli.stopping import Terminated, ended_by_sigterm


def arrive():
    os.kill(os.getpid(), signal.SIGTERM)


def test_error_that_a_callback_made_of_the_signal_is_the_end_that_was_asked_for():
    def compile_something():
        try:
            arrive()
        except KeyboardInterrupt as error:
            raise SystemError("returned a result with an exception set") from error

    with pytest.raises(Terminated) as caught, ended_by_sigterm():
        compile_something()
    assert isinstance(caught.value.__cause__, SystemError)


def test_other_errors_stay_what_they_are():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemError, match="mine"), ended_by_sigterm():
        raise SystemError("mine")
    assert signal.getsignal(signal.SIGTERM) == before


def test_run_that_is_ended_while_it_reads_its_file_says_so(files, nepal, monkeypatch):
    monkeypatch.setattr(read, "load_campaign", lambda _: arrive())
    code, out, err = nepal("run", files / "campaign.yaml")
    assert code == 143
    assert not out
    assert "ended by SIGTERM; the same command again continues" in err
