"""Training with `nep`: what it is given, how it goes on, and what is never used."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from nepal_flows.engines.gpumd.training import (
    Foundation,
    NepSetup,
    NepState,
    checked_state,
    run_nep_training,
)
from nepal_flows.errors import EngineError, InputError, ModelError, TrainingError
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_restart import format_restart
from nepal_flows.io.structures import labelled_from_atoms

STANDIN = Path(__file__).parents[3] / "standins" / "nep.py"
COMMAND = shlex.join([sys.executable, str(STANDIN)])
INPUT = NepInput(
    type=("Cu",), cutoff=(4.0, 3.5), n_max=(2, 2), basis_size=(4, 4), l_max=(2, 0, 0), neuron=4,
    generation=800, batch=100,
)  # fmt: skip


def frame(seed: int):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.08, seed=seed)
    atoms.calc = EMT()
    atoms.get_forces()
    return labelled_from_atoms(atoms)


@pytest.fixture(scope="module")
def frames():
    return [frame(seed) for seed in range(4)]


@pytest.fixture
def train(frames, tmp_path):
    """Return a function that trains with the stand-in."""

    def run(nep_input=INPUT, **options):
        limits = {name: options.pop(name) for name in ("time_limit_s",) if name in options}
        setup = NepSetup(COMMAND, str(tmp_path), checkpoint_interval_s=1e9, **limits)
        return run_nep_training(nep_input, frames, setup=setup, **options)

    return run


@pytest.fixture(scope="module")
def trained(frames, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("trained")
    run = run_nep_training(INPUT, frames, setup=NepSetup(COMMAND, str(scratch)))
    assert list(scratch.iterdir()) == []
    return run


@pytest.fixture
def log(monkeypatch, tmp_path_factory):
    """Return a function that tells what the program was called with."""
    path = tmp_path_factory.mktemp("log") / "log"
    monkeypatch.setenv("STANDIN_LOG", str(path))
    return lambda: [json.loads(line) for line in path.read_text().splitlines()]


def test_a_training_gives_its_model_its_history_and_a_state(trained):
    assert trained.model.architecture == INPUT.architecture
    assert trained.history[:, 0].tolist() == list(range(100, 801, 100))
    assert np.isfinite(trained.history).all()
    assert trained.state.n_generations == 800
    assert trained.state.model == trained.text.encode()
    assert trained.program == "nep 5.6"


def test_the_input_is_what_every_version_knows(train, log, monkeypatch):
    monkeypatch.setenv("STANDIN_VERSION", "4.5")
    assert train(replace(INPUT, generation=100)).program == "nep 4.5"
    (call,) = log()
    assert "output_interval" not in call["nep_in"]
    assert "lambda_1        " in call["nep_in"]
    assert call["files"] == ["nep.in", "program.err", "program.out", "train.xyz"]


def test_an_interrupted_training_goes_on_from_its_checkpoint(train, log, monkeypatch):
    monkeypatch.setenv("STANDIN_NEP_FAULT", "killed")
    kept: list[NepState] = []
    with pytest.raises(EngineError, match=r"SIGTERM.*goes on from the last checkpoint"):
        train(keep=kept.append)
    assert [state.n_generations for state in kept] == [600]
    monkeypatch.delenv("STANDIN_NEP_FAULT")
    run = train(checkpoint=kept[0])
    assert run.state.n_generations == 800
    assert run.history[:, 0].tolist() == list(range(100, 801, 100))
    first, second = log()
    assert "nep.restart" not in first["files"]
    assert "nep.restart" in second["files"]
    assert "generation      200\n" in second["nep_in"]
    assert "import_q_scaler" not in second["nep_in"]


def test_the_state_is_kept_while_the_training_runs(frames, tmp_path):
    kept: list[NepState] = []
    setup = NepSetup(COMMAND, str(tmp_path), checkpoint_interval_s=0.0)
    long = replace(INPUT, generation=4000)
    run_nep_training(long, frames, setup=setup, keep=kept.append)
    assert kept
    for state in kept:
        assert 0 < state.n_generations <= 4000
        checked_state(state, INPUT.architecture)


@pytest.mark.parametrize(("version", "keeps_scaler"), [("5.6", True), ("5.0", False)])
def test_a_warm_start_keeps_the_scale_where_the_version_can(
    train, trained, log, monkeypatch, version, keeps_scaler
):
    monkeypatch.setenv("STANDIN_VERSION", version)
    run = train(replace(INPUT, generation=100), parent=trained.state)
    assert run.history[0, 5] < 2.0 * trained.history[-1, 5]
    calls = log()
    assert len(calls) == (1 if keeps_scaler else 2)
    assert ("import_q_scaler" in calls[-1]["nep_in"]) is keeps_scaler
    assert "nep.restart" in calls[-1]["files"]


def test_a_foundation_model_is_fine_tuned(train, log):
    foundation = foundation_of_89()
    run = train(replace(INPUT, generation=200), foundation=foundation)
    assert run.model.elements == ("Cu",)
    (call,) = log()
    assert "fine_tune       foundation.txt foundation.restart\n" in call["nep_in"]
    assert {"foundation.txt", "foundation.restart"} <= set(call["files"])


@pytest.mark.parametrize(("version", "n_calls"), [("5.6", 1), ("5.0", 2)])
def test_an_interrupted_fine_tuning_never_changes_its_scale(
    train, trained, log, monkeypatch, version, n_calls
):
    monkeypatch.setenv("STANDIN_VERSION", version)
    checkpoint = replace(trained.state, n_generations=100, history=b"100 1 0 0 1 1 1 0 0 0\n")
    run = train(
        replace(INPUT, generation=300), foundation=foundation_of_89(), checkpoint=checkpoint
    )
    calls = log()
    assert len(calls) == n_calls
    assert run.state.n_generations == 300
    if n_calls == 2:
        assert "fine_tune" in calls[1]["nep_in"]
        assert "generation      300\n" in calls[1]["nep_in"]
        assert "nep.restart" not in calls[1]["files"]


def foundation_of_89() -> Foundation:
    from nepal_flows.core.elements import SYMBOLS
    from nepal_flows.core.nep.model import model_from_parameters
    from nepal_flows.io.nep_txt import format_nep_txt

    elements = tuple(symbol for symbol in SYMBOLS[1:95] if symbol not in FIVE_LEFT_OUT)
    architecture = replace(INPUT, type=elements).architecture
    rng = np.random.default_rng(1)
    parameters = 0.1 * rng.standard_normal(architecture.n_parameters)
    scaler = np.full(architecture.n_descriptors, 0.5)
    model = model_from_parameters(architecture, parameters, scaler)
    rows = np.column_stack([parameters, np.full(len(parameters), 0.1)])
    return Foundation(format_nep_txt(model).encode(), format_restart(rows).encode())


FIVE_LEFT_OUT = ("Po", "At", "Rn", "Fr", "Ra")


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("oom", EngineError, "out of memory"),
        ("segfault", EngineError, "SIGSEGV"),
        ("nan", TrainingError, "diverged"),
        ("silent", EngineError, "without finishing"),
        ("truncated", EngineError, "not whole"),
        ("stale", EngineError, "without writing a nep.txt"),
    ],
)
def test_a_training_that_failed_leaves_no_model(train, monkeypatch, fault, error, words):
    monkeypatch.setenv("STANDIN_NEP_FAULT", fault)
    with pytest.raises(error, match=words):
        train()


def test_what_a_training_started_from_is_never_taken_for_its_result(train, trained, monkeypatch):
    monkeypatch.setenv("STANDIN_NEP_FAULT", "stale")
    kept: list[NepState] = []
    with pytest.raises(EngineError, match=r"without writing|what it started from"):
        train(parent=trained.state, keep=kept.append)
    assert kept == []


@pytest.mark.slow
def test_a_time_limit_keeps_the_state(train, monkeypatch):
    monkeypatch.setenv("STANDIN_NEP_FAULT", "hang")
    kept: list[NepState] = []
    with pytest.raises(EngineError, match="timed out"):
        train(keep=kept.append, time_limit_s=25.0)
    assert [state.n_generations for state in kept] == [600]


def test_nonsense_is_refused_before_anything_runs(train, trained, frames, tmp_path):
    with pytest.raises(InputError, match="multiple"):
        train(replace(INPUT, generation=150))
    with pytest.raises(TrainingError, match="no structure"):
        run_nep_training(INPUT, [], setup=NepSetup(COMMAND))
    heavy = [replace(frames[0], weight=1000.0)]
    with pytest.raises(InputError, match="weights"):
        run_nep_training(INPUT, heavy, setup=NepSetup(COMMAND))
    short = replace(trained.state, restart=trained.state.restart[:200])
    with pytest.raises(EngineError, match="cut short"):
        train(parent=short)
    with pytest.raises(EngineError, match="another model"):
        train(replace(INPUT, neuron=5), parent=trained.state)
    with pytest.raises(ModelError, match="was asked for"):
        checked_state(trained.state, replace(INPUT, cutoff=(4.5, 3.5)).architecture)
    with pytest.raises(EngineError, match="NEPAL_NEP_COMMAND"):
        run_nep_training(INPUT, frames, setup=NepSetup("no-such-nep", str(tmp_path)))
