"""The self-test: versions of the grading keyword, wrong grades, programs that do not run."""

import pytest

from nepal_flows.engines.gpumd.md import GpumdSetup
from nepal_flows.engines.gpumd.self_test import run_self_test
from nepal_flows.errors import EngineError

SHA = "a" * 64


@pytest.fixture
def tested(gpumd_command, copper_model, active_set, start, tmp_path):
    def run(**changes):
        setup = GpumdSetup(**{"command": gpumd_command, "scratch": str(tmp_path)} | changes)
        return run_self_test(start, copper_model, active_set, setup=setup, model_sha256=SHA)

    return run


@pytest.mark.parametrize(
    ("version", "first_guess", "names_model"), [("5.6", True, False), ("5.7", False, True)]
)
def test_the_form_of_the_keyword_is_found_out(
    tested, monkeypatch, version, first_guess, names_model
):
    monkeypatch.setenv("STANDIN_VERSION", version)
    found = tested(names_model=first_guess)
    assert found.version == version
    assert found.setup.names_model is names_model
    assert found.difference < 0.1
    assert found.gamma > 0.0


def test_other_grades_are_refused(tested, monkeypatch):
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "1.2")
    with pytest.raises(EngineError, match="cannot be trusted"):
        tested()


@pytest.mark.parametrize("fault", ["oom", "segfault", "truncated"])
def test_a_program_that_does_not_run_fails_the_test(tested, monkeypatch, fault):
    monkeypatch.setenv("STANDIN_FAULT", fault)
    with pytest.raises(EngineError, match="self-test"):
        tested()
