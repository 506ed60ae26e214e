from dataclasses import replace

import numpy as np
import pytest

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.extrapolation import frame_grades, structure_grades
from nepal_flows.core.frame_pool import FramePool
from nepal_flows.core.nep.projections import ProjectionFactors, dense_projections
from nepal_flows.core.selection import select_frames
from nepal_flows.errors import InputError


@pytest.fixture
def case(make_network, rng):
    """A sparse training set and candidates that range from covered to far outside."""
    network = make_network(n_types=2)
    training = network.frames(rng, 10, 8, width=0.3)
    widths = np.linspace(0.1, 1.5, 30)
    candidates = [network.frame(rng, 8, width) for width in widths]
    return network, training, candidates, build_active_set(training, ["Cu", "Au"])


def options(**changes):
    return {"budget": 5, "threshold": 1.5, "ceiling": None, "duplicate_tolerance": 1e-3} | changes


def test_first_choice_has_the_largest_grade(case) -> None:
    _, training, candidates, active_set = case
    selection = select_frames(active_set, training, candidates, **options())
    grades = frame_grades(active_set, candidates)
    assert selection.selected[0] == grades.argmax()
    first = selection.decisions[selection.selected[0]]
    assert first.grade == pytest.approx(grades.max())
    assert first.order == 0
    worst = structure_grades(active_set, candidates[first.index])
    assert first.atom == worst.argmax()
    assert first.element == ["Cu", "Au"][candidates[first.index].types[first.atom]]


def test_every_candidate_has_one_decision_with_a_reason(case) -> None:
    _, training, candidates, active_set = case
    selection = select_frames(active_set, training, candidates, **options())
    assert [decision.index for decision in selection.decisions] == list(range(30))
    assert all(decision.detail for decision in selection.decisions)
    assert sum(selection.refused.values()) + len(selection.selected) == 30
    assert [selection.decisions[i].order for i in selection.selected] == list(range(5))
    assert {d.index for d in selection.decisions if d.is_selected} == set(selection.selected)


def test_grades_after_a_choice_are_those_of_the_enlarged_set(case) -> None:
    _, training, candidates, active_set = case
    pool = FramePool(active_set, training, candidates)
    np.testing.assert_allclose(pool.grades(), frame_grades(active_set, candidates), rtol=1e-6)
    pool.take([29])
    expected = grades_after(active_set, training, candidates, taken=29)
    np.testing.assert_allclose(pool.grades(), expected, rtol=1e-4)


def grades_after(active_set, training, candidates, *, taken):
    """Swap the rows of one frame into each element's square matrix, one entry at a time."""
    grades = np.zeros(len(candidates))
    for kind, member in enumerate(active_set.members):
        square = np.linalg.inv(member.inverse)
        pool = np.concatenate(
            [dense_projections(f)[f.types == kind] for f in [*training, candidates[taken]]]
        )
        while True:
            coefficients = pool @ np.linalg.inv(square)
            i, j = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
            if abs(coefficients[i, j]) <= active_set.tolerance:
                break
            square[j] = pool[i]
        for k, frame in enumerate(candidates):
            rows = dense_projections(frame)[frame.types == kind]
            own = np.abs(rows @ np.linalg.inv(square)).max(initial=0.0)
            grades[k] = max(grades[k], own)
    return grades


def test_chosen_frames_are_within_the_tolerance_afterwards(case) -> None:
    _, training, candidates, active_set = case
    pool = FramePool(active_set, training, candidates)
    before = pool.grades()
    pool.take([25, 29])
    assert before[[25, 29]].min() > 1.5
    assert pool.grades()[[25, 29]].max() <= 1.001 + 1e-6


def test_selection_ends_when_no_grade_exceeds_the_threshold(case) -> None:
    _, training, candidates, active_set = case
    candidates = [*candidates, training[0]]
    selection = select_frames(active_set, training, candidates, **options(budget=100))
    assert selection.largest_remaining_grade <= 1.5
    assert selection.refused.get("over_budget", 0) == 0
    assert selection.decisions[-1].reason == "below_threshold"
    assert selection.refused["covered"] > 0
    for decision in selection.decisions:
        if decision.reason == "covered":
            assert decision.grade > 1.5 >= decision.grade_at_decision


def test_budget_is_kept_and_the_rest_says_so(case) -> None:
    _, training, candidates, active_set = case
    selection = select_frames(active_set, training, candidates, **options(budget=1))
    assert len(selection.selected) == 1
    assert selection.refused["over_budget"] > 0
    assert selection.largest_remaining_grade > 1.5
    nothing = select_frames(active_set, training, candidates, **options(budget=0))
    assert nothing.selected == ()


def test_gate_ceiling_and_nan_are_refused_with_their_reasons(case) -> None:
    _, training, candidates, active_set = case
    grades = frame_grades(active_set, candidates)
    highest = int(grades.argmax())
    broken = candidates[3]
    candidates[3] = ProjectionFactors(broken.types, broken.y * np.nan, broken.v, broken.t)
    selection = select_frames(
        active_set,
        training,
        candidates,
        **options(budget=0, ceiling=0.999 * grades[highest], gate_reasons={5: "d_min 0.9 A"}),
    )
    assert selection.decisions[highest].reason == "above_ceiling"
    assert selection.decisions[5].reason == "rejected_by_gate"
    assert selection.decisions[5].detail == "d_min 0.9 A"
    assert selection.decisions[3].reason == "not_finite"
    assert not {highest, 5, 3} & set(selection.selected)


def test_frames_above_the_ceiling_are_reached_step_by_step(case) -> None:
    _, training, candidates, active_set = case
    first = np.sort(frame_grades(active_set, candidates))
    ceiling = float(first[-4])
    selection = select_frames(
        active_set, training, candidates, **options(budget=30, ceiling=ceiling)
    )
    chosen = [selection.decisions[i] for i in selection.selected]
    assert max(d.grade_at_decision for d in chosen) <= ceiling
    above = [d for d in selection.decisions if d.grade > ceiling]
    assert len(above) == 3
    assert all(d.reason in ("selected", "covered", "above_ceiling") for d in above)
    assert any(d.reason != "above_ceiling" for d in above)


def test_ceiling_below_everything_starves_only_a_saturated_set(case) -> None:
    _, training, candidates, active_set = case
    grades = frame_grades(active_set, candidates)
    low = options(budget=1, ceiling=0.9 * grades.min(), threshold=0.5 * grades.min())
    assert not all(member.is_saturated for member in active_set.members)
    bridged = select_frames(active_set, training, candidates, **low)
    assert bridged.selected == (int(grades.argmin()),)
    saturated = replace(
        active_set, members=tuple(replace(m, is_saturated=True) for m in active_set.members)
    )
    refused = select_frames(saturated, training, candidates, **low)
    assert refused.selected == ()
    assert refused.refused == {"above_ceiling": 30}


def test_repeats_of_labelled_and_of_selected_frames_are_refused(case) -> None:
    network, training, candidates, active_set = case
    order = np.arange(8)[::-1]
    twin = candidates[29]
    again = network.factors(twin.types[order], twin.y[order] + 1e-5)
    held_out = network.factors(candidates[28].types, candidates[28].y - 1e-5)
    selection = select_frames(
        active_set,
        training,
        [*candidates, again],
        also_labelled=[held_out],
        **options(budget=40, duplicate_tolerance=0.01, method="farthest"),
    )
    assert selection.decisions[28].reason == "near_duplicate_of_labelled"
    assert selection.decisions[28].twin == len(training)
    pair = {selection.decisions[29].reason, selection.decisions[30].reason}
    assert pair == {"selected", "near_duplicate_of_selected"}
    repeated = next(d for d in selection.decisions if d.reason == "near_duplicate_of_selected")
    assert repeated.twin in (29, 30)
    assert repeated.distance == pytest.approx(1e-5, rel=1e-3)


def test_ties_are_broken_by_order(case) -> None:
    _, training, candidates, active_set = case
    selection = select_frames(
        active_set, training, [candidates[29]] * 3, **options(duplicate_tolerance=0.0)
    )
    assert selection.selected[0] == 0
    assert selection.decisions[1].reason in ("covered", "near_duplicate_of_selected")


@pytest.mark.parametrize("method", ["greedy", "farthest", "maxvol"])
def test_methods_keep_the_budget_and_cover_better_than_nothing(case, method) -> None:
    _, training, candidates, active_set = case
    selection = select_frames(active_set, training, candidates, **options(method=method))
    again = select_frames(active_set, training, candidates, **options(method=method))
    assert 0 < len(selection.selected) <= 5
    assert selection == again
    assert selection.largest_remaining_grade < frame_grades(active_set, candidates).max()
    grades = frame_grades(active_set, candidates)
    assert all(grades[i] > 1.5 for i in selection.selected)


def test_published_variant_selects_by_rebuilding(case) -> None:
    _, training, candidates, _ = case
    active_set = build_active_set(training, ["Cu", "Au"], variant="full")
    selection = select_frames(active_set, training, candidates[-6:], **options(budget=2))
    assert len(selection.selected) == 2
    enlarged = build_active_set(
        [*training, *[candidates[-6:][i] for i in selection.selected]],
        ["Cu", "Au"],
        variant="full",
    )
    rest = [candidates[-6:][d.index] for d in selection.decisions if not d.is_selected]
    assert selection.largest_remaining_grade == pytest.approx(frame_grades(enlarged, rest).max())


def test_little_memory_keeps_the_worst_atom_of_every_candidate(case) -> None:
    _, training, candidates, active_set = case
    pool = FramePool(active_set, training, candidates, memory_limit_MB=0.03)
    np.testing.assert_allclose(pool.grades(), frame_grades(active_set, candidates), rtol=1e-6)


def test_no_candidates_is_an_empty_selection(case) -> None:
    _, training, _, active_set = case
    for method in ("greedy", "farthest", "maxvol"):
        selection = select_frames(active_set, training, [], **options(method=method))
        assert selection.decisions == ()
        assert selection.largest_remaining_grade == 0.0


def test_impossible_options_are_refused(case) -> None:
    _, training, candidates, active_set = case
    for wrong in ({"budget": -1}, {"threshold": 0.0}, {"method": "random"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            select_frames(active_set, training, candidates, **options(**wrong))
