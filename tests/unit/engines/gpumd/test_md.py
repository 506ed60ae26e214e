"""Runs of `gpumd`: input, frames, every outcome; the program is a stand-in that computes."""

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.gpumd.md import (
    GpumdSetup,
    check_gpumd_input,
    run_gpumd_md,
    write_gpumd_input,
)
from nepal_flows.engines.gpumd.program import run_program
from nepal_flows.engines.gpumd.protocol import Couplings, protocol_run_in
from nepal_flows.engines.md_run import MdRun, MdSegment
from nepal_flows.errors import (
    ActiveSetError,
    EngineError,
    InputError,
    ModelError,
    StructureError,
)
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.run_in import Grading, run_in_of

STANDIN = Path(__file__).parents[3] / "standins" / "gpumd.py"
COMMAND = shlex.join([sys.executable, str(STANDIN)])
SHA = "a" * 64
PROTOCOL = [MdSegment("npt", (300.0, 600.0), 60), MdSegment("nvt", 600.0, 45)]
OPTIONS = {"seed": 3, "n_candidates": 6, "n_audit": 3, "candidate_ceiling": 1e9}


@pytest.fixture
def explore(monkeypatch, copper_model, active_set, start, gate, tmp_path):
    """Return a function that explores with the stand-in."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")

    def run(protocol=PROTOCOL, *, structure=start, **changes) -> MdRun:
        setup = {"command": COMMAND, "scratch": str(tmp_path)}
        if "time_limit_s" in changes:
            setup["time_limit_s"] = changes.pop("time_limit_s")
        options = OPTIONS | changes
        return run_gpumd_md(
            structure,
            copper_model,
            protocol,
            setup=GpumdSetup(**setup),
            active_set=active_set,
            model_sha256=SHA,
            gate=options.pop("gate", gate),
            **options,
        )

    return run


@pytest.fixture(scope="module")
def whole(copper_model, active_set, start, gate, tmp_path_factory) -> MdRun:
    """Return a run that nothing disturbs."""
    scratch = tmp_path_factory.mktemp("whole")
    run = run_gpumd_md(
        start,
        copper_model,
        PROTOCOL,
        setup=GpumdSetup(command=COMMAND, scratch=str(scratch)),
        active_set=active_set,
        model_sha256=SHA,
        gate=gate,
        **OPTIONS,
    )
    assert list(scratch.iterdir()) == []
    return run


def test_a_finished_run_is_accounted_for_as_the_native_engine_does(whole):
    run = whole
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.requested_steps == run.finished_steps == 105
    assert run.trace.step.tolist() == [11, 21, 31, 41, 51, 61, 71, 81, 91, 101]
    assert run.program == "GPUMD 5.6"
    assert run.gpu_s > 0.0
    np.testing.assert_allclose(run.trace.target_temperature_K[:5], [350, 400, 450, 500, 550])
    assert (run.trace.target_temperature_K[5:] == 600.0).all()
    assert np.isfinite(run.trace.temperature_K).all()
    assert (run.trace.temperature_K > 50.0).all()


def test_frames_carry_the_grades_of_the_dump(whole, copper_model, active_set):
    run = whole
    assert len(run.candidates) == 6
    assert len(run.audit) == 3
    for frame in (*run.candidates, *run.audit):
        expected = structure_grades(active_set, projection_factors(copper_model, frame.structure))
        np.testing.assert_allclose(frame.grades, expected, rtol=1e-3, atol=1e-3)
        assert frame.gamma == frame.grades.max()
        assert run.trace.gamma[run.trace.step == frame.step] == frame.gamma
    assert run.gamma_max_by_element == {"Cu": run.gamma_max}


def test_one_gpu_is_visible_and_burn_in_is_not_graded(explore, monkeypatch, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    run = explore(burn_in_steps=75)
    (call,) = [json.loads(line) for line in log.read_text().splitlines()]
    assert call["gpus"] == "0"
    assert call["run_in"].count("compute_extrapolation") == 1
    assert run.outcome == "finished"
    assert run.finished_steps == 105
    assert run.trace.step.tolist() == [76, 86, 96]


def test_a_run_stops_at_a_grade_and_keeps_the_frame(explore, whole):
    limit = float(np.sort(whole.trace.gamma)[-3])
    run = explore(gamma_stop=limit)
    assert run.outcome == "stopped_by_grade"
    assert f"limit {limit:g}" in run.reason
    assert run.finished_steps == run.trace.step[-1] < 105
    assert run.trace.gamma[-1] > limit
    assert (run.trace.gamma[:-1] <= limit).all()


def test_a_run_that_stops_at_once_gives_its_start_to_the_candidates(explore):
    run = explore(gamma_stop=1.01, gamma_low=1.005)
    assert run.outcome == "stopped_by_grade"
    assert [frame.step for frame in run.candidates] == [1]
    assert run.trace.step.tolist() == [1]


def test_the_ceiling_ends_a_run_where_no_grade_is_set(explore, whole):
    ceiling = float(np.median(whole.trace.gamma))
    run = explore(candidate_ceiling=ceiling, gamma_low=0.5 * ceiling)
    assert run.outcome == "stopped_by_grade"
    assert run.n_above_ceiling == 1
    assert all(frame.gamma <= ceiling for frame in run.candidates)


def test_the_physics_gate_cuts_a_run_at_its_first_violation(explore, whole):
    volumes = whole.trace.volume_A3
    start_volume = 3.61**3
    ratio = 1.0 + 0.5 * float(np.abs(volumes / start_volume - 1.0).max())
    run = explore(gate=PhysicsGate(volume_ratio=(1.0 / ratio, ratio)))
    assert run.outcome == "stopped_by_gate"
    assert "volume" in run.reason
    assert 0 < run.finished_steps < 105
    assert run.trace.step[-1] == run.finished_steps


def test_a_start_that_violates_the_gate_is_not_run(explore, monkeypatch, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    monkeypatch.setenv("STANDIN_LOG", str(log))
    run = explore(gate=PhysicsGate(min_distances={(29, 29): 3.0}))
    assert run.outcome == "stopped_by_gate"
    assert "at the start" in run.reason
    assert not log.exists()


@pytest.mark.parametrize(
    ("fault", "outcome", "words"),
    [
        ("oom", "out_of_memory", "out of memory"),
        ("nan", "not_finite", "no longer finite at step"),
        ("segfault", "crashed", "SIGSEGV"),
        ("abort", "crashed", "illegal memory access"),
        ("killed", "killed", "SIGTERM"),
        ("truncated", "crashed", "damaged"),
        ("short", "crashed", "frames are in the dump"),
        ("silent", "crashed", "without finishing"),
    ],
)
def test_every_way_to_fail_is_told_apart(explore, monkeypatch, fault, outcome, words):
    monkeypatch.setenv("STANDIN_FAULT", fault)
    run = explore()
    assert run.outcome == outcome
    assert words in run.reason
    assert run.finished_steps < run.requested_steps == 105


def test_sound_frames_before_a_failure_are_kept(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_FAULT", "segfault")
    run = explore()
    assert run.finished_steps == run.trace.step[-1] == 21
    assert {frame.step for frame in run.candidates} <= {11, 21}


def test_a_hanging_run_ends_at_its_time_limit(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_FAULT", "hang")
    run = explore(time_limit_s=6.0)
    assert run.outcome == "timed_out"
    assert "time limit" in run.reason


def test_no_gpu_and_refused_input_are_errors_not_outcomes(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_FAULT", "no_gpu")
    with pytest.raises(EngineError, match="no GPU"):
        explore()
    monkeypatch.delenv("STANDIN_FAULT")
    with pytest.raises(EngineError, match=r"refuses its input.*invalid keyword"):
        explore(body="ensemble nve\nunheard_of 3\nrun 10")


def test_a_program_that_is_not_there_is_named_with_its_setting(tmp_path):
    with pytest.raises(EngineError, match="NEPAL_GPUMD_COMMAND"):
        run_program("no-such-gpumd", tmp_path, setting="gpumd_command")


def test_grades_that_are_not_those_of_the_model_are_an_error(explore, monkeypatch):
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "3")
    with pytest.raises(EngineError, match="grades otherwise"):
        explore()


def test_a_body_is_run_as_it_is_and_graded(explore):
    body = "ensemble nve\nrun 35\nensemble nvt_lan 300 600 50\nrun 20\n"
    run = explore((), body=body)
    assert run.outcome == "finished"
    assert run.requested_steps == 55
    assert run.trace.step.tolist() == [11, 21, 31, 36, 46]
    assert np.isnan(run.trace.target_temperature_K[:3]).all()
    np.testing.assert_allclose(run.trace.target_temperature_K[3:], [300.0, 450.0])


def test_frames_are_graded_anew_where_monte_carlo_exchanges_atoms(
    explore, monkeypatch, copper_model, active_set
):
    monkeypatch.setenv("STANDIN_GRADE_FACTOR", "3")
    run = explore((), body="ensemble nvt_lan 300 300 50\nmc canonical 10 10 300 300\nrun 30\n")
    for frame in run.audit:
        expected = structure_grades(active_set, projection_factors(copper_model, frame.structure))
        np.testing.assert_array_equal(frame.grades, expected)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [
        (MdSegment("nve", 300.0, 10), "ensemble nve"),
        (MdSegment("nvt", (300.0, 500.0), 10), "ensemble nvt_lan 300 500 50"),
        (MdSegment("npt", 300.0, 10, 2.0), "ensemble npt_scr 300 300 50 2 100 500"),
        (
            MdSegment("npt", 300.0, 10, (0.0, 5.0)),
            "ensemble npt_mttk temp 300 300 iso 0 5 tperiod 50 pperiod 500",
        ),
    ],
)
def test_ensembles_ramps_and_pressures_become_keywords(segment, expected):
    text = protocol_run_in(
        [segment], np.eye(3), couplings=Couplings(), grading=Grading(10, 9.0), seed=2**40
    ).text
    assert f"\n{expected}\n" in text
    assert f"\nvelocity 300 seed {2**40 % (2**31 - 1)}\n" in text


def test_a_burn_in_cuts_a_ramp_in_two_and_keeps_its_rate():
    run_in = protocol_run_in(
        PROTOCOL,
        np.eye(3),
        couplings=Couplings(),
        grading=Grading(10, 9.0),
        seed=1,
        burn_in_steps=20,
    )
    assert [block.n_steps for block in run_in.blocks] == [20, 40, 45]
    assert run_in.blocks[0].temperature_K == (300.0, 400.0)
    assert run_in.blocks[1].temperature_K == (400.0, 600.0)
    with pytest.raises(InputError, match="burn-in takes all"):
        protocol_run_in(
            PROTOCOL,
            np.eye(3),
            couplings=Couplings(),
            grading=Grading(10, 9.0),
            seed=1,
            burn_in_steps=105,
        )


def test_zero_kelvin_is_refused():
    with pytest.raises(InputError, match="positive ones only"):
        protocol_run_in(
            [MdSegment("nvt", 0.0, 10)],
            np.eye(3),
            couplings=Couplings(),
            grading=Grading(10, 9.0),
            seed=1,
        )


def test_a_skewed_cell_gets_the_barostat_that_takes_it(explore, start):
    shear = np.eye(3) + 0.05 * np.eye(3, k=1)
    skewed = Structure(start.numbers, start.positions @ shear, start.cell @ shear)
    run = explore([MdSegment("npt", 300.0, 12, (0.0, 1.0))], structure=skewed)
    assert run.outcome == "finished"


def test_neighbour_counts_leave_room_for_the_densest_frame(
    copper_model, active_set, start, tmp_path
):
    run_in = run_in_of("ensemble nve\nrun 1", grading=Grading(1, 9.0), seed=1, time_step_fs=1.0)
    dense = Structure(start.numbers, start.positions * 0.8, start.cell * 0.8)
    write_gpumd_input(tmp_path, dense, [copper_model], active_set, run_in, densest=1.5)
    written = read_nep_txt(tmp_path / "nep.txt")
    assert written.max_neighbours[0] > copper_model.max_neighbours[0]
    np.testing.assert_array_equal(written.parameters(), copper_model.parameters())


def test_a_directory_with_leftovers_is_refused(copper_model, active_set, start, tmp_path):
    (tmp_path / "extrapolation_dump.xyz").write_text("old")
    run_in = run_in_of("ensemble nve\nrun 1", grading=Grading(1, 9.0), seed=1, time_step_fs=1.0)
    with pytest.raises(EngineError, match="not empty"):
        write_gpumd_input(tmp_path, start, [copper_model], active_set, run_in)


def test_parts_that_do_not_belong_together_are_refused(copper_model, active_set, start):
    with pytest.raises(ActiveSetError, match="belongs to the model"):
        check_gpumd_input(start, copper_model, active_set, "b" * 64)
    member = replace(active_set.members[0], inverse=np.eye(7))
    with pytest.raises(ActiveSetError, match="read past their ends"):
        check_gpumd_input(start, copper_model, replace(active_set, members=(member,)), SHA)
    gold = Structure(np.full(4, 79), start.positions, start.cell)
    with pytest.raises(ModelError, match="Au"):
        check_gpumd_input(gold, copper_model, active_set, SHA)
    lone = Structure(start.numbers[:1], start.positions[:1], start.cell)
    with pytest.raises(StructureError, match="two atoms"):
        check_gpumd_input(lone, copper_model, active_set, SHA)
