import numba
import numpy as np
import pytest

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.extrapolation import (
    extrapolation_grades,
    frame_grades,
    grades_by_frame,
    grades_kernel,
    structure_grades,
)
from nepal_flows.core.nep.projections import ProjectionFactors, dense_projections
from nepal_flows.errors import ActiveSetError


@pytest.fixture
def case(make_network, rng):
    network = make_network(n_types=2)
    frames = network.frames(rng, 8, 24)
    return network, frames, build_active_set(frames, ["Cu", "Au"])


def test_dense_and_factors_give_the_same_grade(case, rng) -> None:
    network, _, active_set = case
    frame = network.frame(rng, 700, width=1.0)
    rows = dense_projections(frame)
    expected = np.array(
        [np.abs(b @ active_set.inverses[t]).max() for b, t in zip(rows, frame.types, strict=True)]
    )
    np.testing.assert_allclose(structure_grades(active_set, frame), expected, rtol=1e-10)
    gold = frame.types == 1
    np.testing.assert_allclose(
        extrapolation_grades(rows[gold], active_set.inverses[1]), expected[gold], rtol=1e-10
    )


def test_threads_give_the_same_grades(case, rng) -> None:
    network, _, active_set = case
    frame = network.frame(rng, 301)
    one, three = (
        structure_grades(active_set, frame),
        structure_grades(active_set, frame, n_threads=3),
    )
    np.testing.assert_allclose(one, three, rtol=1e-12)


def test_grade_does_not_depend_on_the_order_of_atoms(case, rng) -> None:
    network, _, active_set = case
    frame = network.frame(rng, 40)
    order = rng.permutation(40)
    moved = ProjectionFactors(frame.types[order], frame.y[order], frame.v[order], frame.t[order])
    np.testing.assert_allclose(
        structure_grades(active_set, moved), structure_grades(active_set, frame)[order], rtol=1e-10
    )


def test_kernel_is_callable_from_compiled_code(case) -> None:
    _, frames, active_set = case
    frame = frames[0]

    @numba.njit
    def largest(types, y, v, t, inverses):
        grades = np.empty(len(types))
        grades_kernel(types, y, v, t, inverses, grades)
        return grades.max()

    found = largest(frame.types, frame.y, frame.v, frame.t, active_set.inverses)
    assert found == pytest.approx(structure_grades(active_set, frame).max(), rel=1e-12)


def test_grade_of_a_frame_is_that_of_its_worst_atom(case) -> None:
    _, frames, active_set = case
    expected = [structure_grades(active_set, frame).max() for frame in frames]
    np.testing.assert_allclose(frame_grades(active_set, frames, n_threads=2), expected)


def test_frames_graded_together_have_the_grades_they_have_alone(case, rng) -> None:
    network, _, active_set = case
    frames = [network.frame(rng, n) for n in (700, 3, 1, 2100, 40, 40)]
    frames.insert(2, network.frame(rng, 0))
    for n_threads in (1, 2):
        together = grades_by_frame(active_set, frames, n_threads=n_threads)
        assert [len(grades) for grades in together] == [700, 3, 0, 1, 2100, 40, 40]
        for frame, grades in zip(frames, together, strict=True):
            np.testing.assert_allclose(grades, structure_grades(active_set, frame), rtol=1e-10)
    np.testing.assert_allclose(
        frame_grades(active_set, frames), [grades.max(initial=0.0) for grades in together]
    )
    assert grades_by_frame(active_set, []) == []


def test_factors_kept_in_single_precision_are_graded_in_double(case, rng) -> None:
    network, _, active_set = case
    kept = []
    for frame in network.frames(rng, 3, 20, width=1.0):
        parts = (part.astype(np.float32) for part in (frame.y, frame.v, frame.t))
        kept.append(ProjectionFactors(frame.types, *parts))
    same = [
        ProjectionFactors(f.types, *(part.astype(np.float64) for part in (f.y, f.v, f.t)))
        for f in kept
    ]
    for short, long in zip(kept, same, strict=True):
        np.testing.assert_array_equal(dense_projections(short), dense_projections(long))
        np.testing.assert_array_equal(
            structure_grades(active_set, short), structure_grades(active_set, long)
        )
    for short, long in zip(
        grades_by_frame(active_set, kept), grades_by_frame(active_set, same), strict=True
    ):
        np.testing.assert_array_equal(short, long)
    short, long = (build_active_set(frames, ["Cu", "Au"]) for frames in (kept, same))
    np.testing.assert_array_equal(short.inverses, long.inverses)


def test_grades_far_outside_are_large(case, rng) -> None:
    network, _, active_set = case
    far = network.factors(rng.integers(0, 2, 20), 1.0 + 2.0 * rng.standard_normal((20, 5)))
    assert structure_grades(active_set, far).max() > 5.0


def test_another_models_projections_are_refused(case, make_network, rng) -> None:
    _, _, active_set = case
    other = make_network(n_neurons=5).frame(rng, 3)
    with pytest.raises(ActiveSetError, match="d=28, but the projections have d=35"):
        structure_grades(active_set, other)
    with pytest.raises(ActiveSetError, match="Rebuild"):
        extrapolation_grades(np.ones((2, 3)), np.eye(4))
    third = ProjectionFactors(np.array([2]), np.ones((1, 5)), np.ones((1, 4)), np.ones((1, 4)))
    with pytest.raises(ActiveSetError, match="type 2"):
        structure_grades(active_set, third)


def test_colliding_atoms_are_refused_and_not_called_safe(case) -> None:
    _, frames, active_set = case
    frame = frames[0]
    broken = ProjectionFactors(frame.types, frame.y * np.inf, frame.v, frame.t)
    with pytest.raises(ActiveSetError, match="collide"):
        structure_grades(active_set, broken)


def test_rows_of_a_real_model_have_unit_grade_at_most(copper_model) -> None:
    from nepal_flows.core.nep.projections import projection_factors
    from nepal_flows.core.structure import Structure

    rng = np.random.default_rng(0)
    base = 3.6 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    grid = np.stack(np.meshgrid(range(2), range(2), range(2)), -1).reshape(-1, 3) @ base
    factors = [
        projection_factors(
            copper_model,
            Structure(
                np.full(8, 29), grid + 0.1 * rng.standard_normal((8, 3)), 2 * base, (True,) * 3
            ),
        )
        for _ in range(30)
    ]
    active_set = build_active_set(factors[:20], copper_model.elements)
    assert frame_grades(active_set, factors[:20]).max() <= 1.001 + 1e-6
    assert frame_grades(active_set, factors[20:]).max() > 1.001
