"""Exploration runs: grades, candidates, audit, stops, and a reproducible account of it all."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.bayes.bars import PosteriorBars, frame_bars
from nepal_flows.core.bayes.evidence import Posterior
from nepal_flows.core.bayes.features import n_features
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.gate import PhysicsGate
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.scoring import BarScore, Scale
from nepal_flows.core.structure import Structure
from nepal_flows.engines.md_run import MdRun, MdSegment
from nepal_flows.engines.native_md import default_gate, run_native_md
from nepal_flows.engines.trigger import MdState, Trigger
from nepal_flows.errors import ActiveSetError, InputError
from nepal_flows.io.structures import structure_from_atoms

RAMP = [MdSegment("npt", (300.0, 900.0), 150), MdSegment("nvt", 900.0, 105)]


def cell(repeat: int = 1, rattle: float = 0.05, seed: int = 0) -> Structure:
    atoms = bulk("Cu", cubic=True) * (repeat, repeat, repeat)
    atoms.rattle(rattle, seed=seed)
    return structure_from_atoms(atoms)


@pytest.fixture(scope="module")
def active_set(copper_model: NepModel) -> ActiveSet:
    frames = [cell(2, 0.02 + 0.02 * seed, seed) for seed in range(4)]
    factors = [projection_factors(copper_model, frame) for frame in frames]
    return build_active_set(factors, copper_model.elements, model_sha256="a" * 64)


@pytest.fixture(scope="module")
def run(copper_model: NepModel, active_set: ActiveSet) -> MdRun:
    return run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, n_candidates=6, n_audit=4,
        candidate_ceiling=1e9,
    )  # fmt: skip


def test_whole_protocol_runs_and_is_accounted_for(run: MdRun) -> None:
    assert (run.outcome, run.reason) == ("finished", None)
    assert run.requested_steps == run.finished_steps == 255
    assert run.trace.step.tolist() == list(range(10, 251, 10))
    assert run.n_checks == 25
    np.testing.assert_allclose(run.trace.target_temperature_K[:15], 300 + 4 * run.trace.step[:15])
    assert (run.trace.target_temperature_K[15:] == 900.0).all()
    assert (np.diff(run.trace.volume_A3[15:]) == 0.0).all()


def test_trace_holds_the_grades_of_the_frames(
    run: MdRun, copper_model: NepModel, active_set: ActiveSet
) -> None:
    for frame in (*run.candidates, *run.audit):
        factors = projection_factors(copper_model, frame.structure)
        np.testing.assert_allclose(
            frame.grades, structure_grades(active_set, factors), rtol=1e-6, atol=1e-6
        )
        assert frame.gamma == frame.grades.max()
        assert run.trace.gamma[run.trace.step == frame.step] == frame.gamma
    assert run.gamma_max == run.trace.gamma.max()
    assert run.gamma_max_by_element == {"Cu": run.gamma_max}


def test_candidates_are_thinned_and_spread(run: MdRun) -> None:
    steps = [frame.step for frame in run.candidates]
    exceeded = run.trace.step[run.trace.gamma >= 5.0]
    assert run.n_exceeded_checks == len(exceeded) > 6
    assert len(steps) == 6
    assert steps == sorted(steps)
    assert set(steps) <= set(exceeded.tolist())
    assert run.gamma_max in [frame.gamma for frame in run.candidates]


def test_audit_frames_are_drawn_whatever_their_grade(run: MdRun) -> None:
    steps = [frame.step for frame in run.audit]
    assert len(set(steps)) == 4
    assert set(steps) <= set(run.trace.step.tolist())


def test_equal_seeds_give_equal_runs(
    run: MdRun, copper_model: NepModel, active_set: ActiveSet
) -> None:
    calls: list[tuple[int, int]] = []
    again = run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, n_candidates=6, n_audit=4,
        candidate_ceiling=1e9, progress=lambda done, asked: calls.append((done, asked)),
    )  # fmt: skip
    assert (again.final.positions == run.final.positions).all()
    assert (again.trace.gamma == run.trace.gamma).all()
    assert [f.step for f in again.audit] == [f.step for f in run.audit]
    assert calls[-1] == (255, 255)
    other = run_native_md(cell(), copper_model, RAMP, seed=4)
    assert not (other.final.positions == run.final.positions).any()


def test_frames_above_the_ceiling_are_refused_and_counted(
    run: MdRun, copper_model: NepModel, active_set: ActiveSet
) -> None:
    ceiling = float(np.median(run.trace.gamma))
    capped = run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, candidate_ceiling=ceiling
    )
    assert capped.n_above_ceiling == (run.trace.gamma > ceiling).sum() > 0
    assert max(frame.gamma for frame in capped.candidates) <= ceiling


def test_run_stops_at_the_grade_that_is_set(
    run: MdRun, copper_model: NepModel, active_set: ActiveSet
) -> None:
    limit = 0.9 * run.gamma_max
    first = int(run.trace.step[run.trace.gamma >= limit][0])
    stopped = run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, gamma_stop=limit,
        candidate_ceiling=1e9,
    )  # fmt: skip
    assert stopped.outcome == "stopped_by_grade"
    assert f"step {first}" in (stopped.reason or "")
    assert stopped.trace.step[-1] == first
    assert first <= stopped.finished_steps < first + 10
    assert stopped.candidates[-1].step == first


def test_burn_in_is_neither_graded_nor_kept(copper_model: NepModel, active_set: ActiveSet) -> None:
    burnt = run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, burn_in_steps=100, n_audit=99
    )
    assert burnt.trace.step[0] == 110
    assert [frame.step for frame in burnt.audit] == burnt.trace.step.tolist()


def test_run_without_active_set_has_audit_frames_only(copper_model: NepModel) -> None:
    plain = run_native_md(cell(), copper_model, RAMP, seed=3, n_audit=2)
    assert len(plain.audit) == 2
    assert np.isnan(plain.audit[0].gamma)
    assert plain.candidates == ()
    assert np.isnan(plain.gamma_max)
    assert plain.gamma_max_by_element == {}


def test_gate_stops_the_run_before_frames_become_candidates(
    copper_model: NepModel, active_set: ActiveSet
) -> None:
    gate = PhysicsGate(min_distances={(29, 29): 2.3})
    stopped = run_native_md(
        cell(), copper_model, RAMP, active_set=active_set, seed=3, gate=gate, n_candidates=99
    )
    assert stopped.outcome == "stopped_by_gate"
    assert "Cu-Cu" in (stopped.reason or "")
    assert 0 < stopped.finished_steps < stopped.requested_steps
    assert len(stopped.candidates) > 0
    assert all(gate.violation(frame.structure) is None for frame in stopped.candidates)


def test_start_that_fails_the_gate_never_runs(copper_model: NepModel) -> None:
    gate = PhysicsGate(min_distances={(29, 29): 2.6})
    run = run_native_md(cell(), copper_model, RAMP, seed=3, gate=gate)
    assert (run.outcome, run.finished_steps, run.n_checks) == ("stopped_by_gate", 0, 0)
    assert "at the start" in (run.reason or "")
    assert np.isnan(run.gamma_max)


def test_explosion_is_a_crash(copper_model: NepModel) -> None:
    wild = replace(copper_model, w1=copper_model.w1 * 1e9)
    gate = PhysicsGate(temperature_margin=1e300)
    run = run_native_md(cell(rattle=0.1), wild, RAMP, seed=3, gate=gate)
    assert run.outcome == "crashed"
    assert run.finished_steps < 10
    assert np.isfinite(run.final.positions).all()


def test_default_gate_scales_covalent_radii() -> None:
    assert default_gate(cell()).min_distances == {(29, 29): pytest.approx(0.6 * 2.64)}


def test_active_set_of_another_model_is_refused(
    copper_model: NepModel, active_set: ActiveSet
) -> None:
    with pytest.raises(ActiveSetError, match="belongs to"):
        run_native_md(
            cell(), copper_model, RAMP, active_set=active_set, seed=0, model_sha256="b" * 64
        )


def test_empty_protocol_is_refused(copper_model: NepModel) -> None:
    with pytest.raises(InputError, match="empty"):
        run_native_md(cell(), copper_model, [], seed=0)


def test_exception_of_progress_ends_the_run(copper_model: NepModel) -> None:
    def out_of_time(done: int, asked: int) -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        run_native_md(cell(), copper_model, RAMP, seed=0, progress=out_of_time)


def test_trace_columns_can_be_packed(run: MdRun) -> None:
    columns = run.trace.as_arrays()
    assert {"step", "temperature_K", "pressure_GPa", "gamma", "gamma.Cu"} <= set(columns)
    assert all(len(column) == run.n_checks for column in columns.values())


def test_frames_are_scored_by_the_bayesian_error_where_a_posterior_is_given(
    copper_model: NepModel, active_set: ActiveSet
) -> None:
    n = n_features(copper_model.architecture)
    posterior = Posterior(
        layer="all", root=1e-3 * np.eye(n, dtype=np.float32), priors=np.ones(4),
        noises=np.ones(3), scales=np.full(3, 2.0), training_deviations=np.full(3, 1e-3),
        n_rows=np.ones(3), n_determined=1.0, n_iterations=1,
    )  # fmt: skip

    def scored(wanted: float) -> MdRun:
        criterion = BarScore(PosteriorBars(posterior, copper_model), Scale(wanted=wanted))
        return run_native_md(
            cell(), copper_model, RAMP[:1], active_set=active_set, bar_scores=[criterion],
            seed=3, check_interval=50, gamma_low=1e-3, candidate_ceiling=1e9,
        )  # fmt: skip

    run = scored(0.0)
    assert len(run.candidates) == 3
    for frame, expected, largest in zip(
        run.candidates, run.trace.expected_rmse_eV_per_A, run.trace.largest_bar_eV_per_A,
        strict=True,
    ):  # fmt: skip
        bars = frame_bars(posterior, copper_model, frame.structure)
        np.testing.assert_allclose(frame.grades, bars.ratios, rtol=1e-5)
        np.testing.assert_allclose([expected, largest], [bars.force_rms, bars.forces.max()])
    assert "largest_bar_eV_per_A" in run.trace.as_arrays()
    assert scored(1e3).trace.gamma.max() < 1.0


def flat_bars(model: NepModel) -> list[BarScore]:
    """Return a criterion whose bars follow the size of the features."""
    n = n_features(model.architecture)
    posterior = Posterior(
        layer="all", root=1e-3 * np.eye(n, dtype=np.float32), priors=np.ones(4),
        noises=np.ones(3), scales=np.full(3, 2.0), training_deviations=np.full(3, 1e-3),
        n_rows=np.ones(3), n_determined=1.0, n_iterations=1,
    )  # fmt: skip
    return [BarScore(PosteriorBars(posterior, model))]


def test_a_trigger_interrupts_and_the_trajectory_goes_on_from_the_same_state(
    copper_model: NepModel, active_set: ActiveSet
) -> None:
    def part(trigger: Trigger | None, resumed: MdState | None = None) -> MdRun:
        return run_native_md(
            cell(), copper_model, RAMP, active_set=active_set, check_interval=5, seed=3,
            bar_scores=flat_bars(copper_model), trigger=trigger, resumed=resumed,
            gamma_low=1e-3,
        )  # fmt: skip

    first = part(Trigger(limit=1e-9, gap_steps=20))
    assert first.outcome == "stopped_by_grade"
    assert "limit 1e-09 at step 20" in first.reason
    (candidate,) = first.candidates
    assert candidate.step == first.finished_steps == first.state.step == 20
    np.testing.assert_array_equal(candidate.structure.positions, first.state.structure.positions)
    second = part(Trigger(limit=1e-9, gap_steps=150), first.state)
    assert second.trace.step[0] == 25
    assert second.requested_steps == 255 - 20
    assert second.finished_steps == 150
    assert second.state.step == 170  # inside the second segment
    assert second.state.first_volume == cell().volume
    last = part(Trigger(limit=1e9), second.state)
    assert (last.outcome, last.candidates, last.state) == ("finished", (), None)
    assert last.trace.step.tolist() == list(range(175, 256, 5))
    assert (last.trace.target_temperature_K == 900.0).all()
    with pytest.raises(InputError, match="bar_scores"):
        run_native_md(cell(), copper_model, RAMP, trigger=Trigger(limit=1.0), seed=0)


def test_a_trajectory_goes_on_without_a_jump(copper_model: NepModel) -> None:
    steady = [MdSegment("nve", 300.0, 100)]
    options = {"seed": 1, "check_interval": 10, "bar_scores": flat_bars(copper_model)}
    whole = run_native_md(cell(), copper_model, steady, **options)
    stopped = run_native_md(
        cell(), copper_model, steady, trigger=Trigger(limit=1e-9, gap_steps=50), **options
    )
    rest = run_native_md(cell(), copper_model, steady, resumed=stopped.state, **options)
    np.testing.assert_allclose(
        rest.trace.potential_energy_eV, whole.trace.potential_energy_eV[5:], rtol=1e-9
    )
    apart = (rest.final.positions - whole.final.positions) @ np.linalg.inv(whole.final.cell)
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-8)  # atoms may lie a cell apart


def test_the_relative_rule_needs_an_average_and_a_floor() -> None:
    rule = Trigger(limit=1.0, gap_steps=20, factor=1.73, floor=0.05, average_steps=100)
    quiet = [0.02] * 10
    assert rule.reason(10, [*quiet, 2.0], 10) is None  # in the gap
    assert "limit 1" in (rule.reason(20, [*quiet, 2.0], 10) or "")
    assert rule.reason(200, [*quiet, 0.04], 10) is None  # below the floor
    assert "3.00 times" in (rule.reason(200, [*quiet, 0.06], 10) or "")
    assert rule.reason(200, [0.06], 10) is None  # no average yet
    assert rule.reason(200, [*quiet, *[0.2] * 10, 0.3], 10) is None  # the old ones are forgotten
    with pytest.raises(InputError, match="positive"):
        Trigger(limit=0.0)
