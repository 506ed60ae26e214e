"""Candidates under one criterion or several: the largest level decides."""

import numpy as np
import pytest

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.extrapolation import grades_by_frame
from nepal_flows.core.frame_pool import FramePool
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.score_pools import FixedPool, GradePool, JointPool
from nepal_flows.core.scoring import BarScore, ForceBars, Scale, scored_bars
from nepal_flows.core.selection import select_frames
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError

N_ATOMS = 3


def factors(count: int, width: float, seed: int) -> list[ProjectionFactors]:
    rng = np.random.default_rng(seed)
    types = np.zeros(N_ATOMS, dtype=np.int64)
    return [
        ProjectionFactors(
            types, width * rng.normal(size=(N_ATOMS, 4)), rng.normal(size=(N_ATOMS, 2)),
            rng.normal(size=(N_ATOMS, 2)),
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def training() -> list[ProjectionFactors]:
    return factors(12, 1.0, 0)


@pytest.fixture(scope="module")
def active(training: list[ProjectionFactors]) -> ActiveSet:
    return build_active_set(training, ("Cu",))


@pytest.fixture(scope="module")
def candidates() -> list[ProjectionFactors]:
    return factors(6, 4.0, 1)


@pytest.fixture(scope="module")
def spread() -> list[np.ndarray]:
    return list(np.random.default_rng(2).uniform(0.5, 6.0, size=(6, N_ATOMS)))


def test_levels_are_one_at_the_limit_and_the_same_at_every_ceiling() -> None:
    scores = np.array([5.0, 1000.0])
    np.testing.assert_allclose(Scale(5.0, np.log(15.0) / np.log(200.0)).levels(scores), [1.0, 15.0])
    assert Scale(wanted=0.1).levels(scores) is scores


def test_the_larger_bar_and_the_larger_level_decide() -> None:
    class Fixed:
        def __init__(self, forces: list[float], ratios: list[float]) -> None:
            self.found = ForceBars(forces=np.array(forces), ratios=np.array(ratios))

        def bars(self, structure: Structure) -> ForceBars:
            return self.found

    structure = Structure([29, 29], np.zeros((2, 3)), np.eye(3))
    one = BarScore(Fixed([0.1, 0.3], [1.0, 4.0]), Scale(low=2.0))
    two = BarScore(Fixed([0.2, 0.1], [6.0, 1.0]), Scale(low=3.0, exponent=2.0, wanted=0.15))
    found = scored_bars([one, two], structure)
    np.testing.assert_allclose(found.forces, [0.2, 0.3])
    np.testing.assert_allclose(found.ratios, [4.0, 2.0])


def test_the_grade_alone_scores_as_its_own_pool_does(training, active, candidates) -> None:
    pool, plain = GradePool(active, training, candidates), FramePool(active, training, candidates)
    for own, expected in zip(
        pool.scores_by_frame(), grades_by_frame(active, candidates), strict=True
    ):
        np.testing.assert_array_equal(own, expected)
    np.testing.assert_allclose(pool.grades(), plain.grades())
    pool.take([2])
    plain.take([2])
    np.testing.assert_allclose(pool.grades(), plain.grades())
    np.testing.assert_allclose(
        GradePool(active, training, candidates).part([3, 1]).grades(),
        FramePool(active, training, candidates).grades()[[3, 1]],
    )


def test_an_atom_is_unknown_when_any_criterion_says_so(training, active, candidates, spread):
    scales = [Scale(low=2.0), Scale(low=5.0, exponent=0.5)]
    pools = [FixedPool(spread), GradePool(active, training, candidates)]
    joint = JointPool(pools, scales)
    grades = grades_by_frame(active, candidates)
    for own, r, gamma in zip(joint.scores_by_frame(), spread, grades, strict=True):
        np.testing.assert_allclose(own, np.maximum(r / 2.0, np.sqrt(gamma / 5.0)))
        np.testing.assert_array_equal(own > 1.0, (r > 2.0) | (gamma > 5.0))
    by_frame = [own.max() for own in joint.scores_by_frame()]
    np.testing.assert_allclose(joint.grades(), by_frame)
    np.testing.assert_allclose(joint.part([4, 0]).grades(), np.array(by_frame)[[4, 0]])
    joint.take([0])
    floor = [own.max() / 2.0 for own in spread]  # which a committee keeps
    assert (joint.grades() >= np.array(floor) - 1e-12).all()
    with pytest.raises(InputError, match="2 pools and 1 scales"):
        JointPool(pools, scales[:1])


def test_scores_that_do_not_learn_are_chosen_far_from_each_other(training, active, candidates):
    twins = [*candidates[:3], *(
        ProjectionFactors(c.types, c.y + 1e-2, c.v, c.t) for c in candidates[:3]
    )]  # fmt: skip
    scores = FixedPool([np.full(N_ATOMS, 3.0 + 0.1 * k) for k in range(6)])
    chosen = select_frames(
        active, training, twins, budget=3, threshold=2.0, ceiling=30.0, scores=scores,
        method="farthest", duplicate_tolerance=0.0,
    )  # fmt: skip
    assert {index % 3 for index in chosen.selected} == {0, 1, 2}
    assert chosen.largest_remaining_grade >= 3.0


def test_where_all_lies_beyond_the_ceiling_the_least_is_taken_while_ranks_grow(candidates):
    few = factors(1, 1.0, 0)
    scores = FixedPool([np.full(N_ATOMS, 40.0 + k) for k in range(6)])

    def chosen(training: list[ProjectionFactors]) -> tuple[int, ...]:
        return select_frames(
            build_active_set(training, ("Cu",), n_last_batch=len(training)), training, candidates,
            budget=3, threshold=2.0, ceiling=30.0, scores=scores, method="farthest",
        ).selected  # fmt: skip

    assert chosen(few) == (0,)
