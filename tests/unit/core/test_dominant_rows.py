"""Streaming: more rows than may be held at a time, so that bounds, rounds and passes are used."""

import numpy as np
import pytest

from nepal_flows.core import dominant_rows
from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.design_rows import DesignRows
from nepal_flows.core.dominant_rows import full_dominant_rows, subspace_dominant_rows
from nepal_flows.core.extrapolation import extrapolation_grades, frame_grades
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.span import element_span

SCARCE = 1.0
"""Bytes of working memory: the fewest rows are held, some 1000."""


def streamed(frames, **options):
    rows = DesignRows(frames, 0)
    span = element_span(rows, rcond=1e-6, n_before=rows.n_rows)
    found = subspace_dominant_rows(rows, span, tolerance=1.001, memory=SCARCE, **options)
    return rows, span, found


def all_grades(rows, found):
    return extrapolation_grades(rows.dense(slice(0, rows.n_rows)), found.inverse)


def test_all_rows_are_dominated_and_the_largest_grade_is_theirs(make_network, rng) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 200, 40, width=1.0)
    rows, _, found = streamed(frames)
    grades = all_grades(rows, found)
    assert found.converged
    assert grades.max() <= 1.001 + 1e-9
    assert found.largest == pytest.approx(grades.max(), abs=1e-9)
    assert len(set(found.rows.tolist())) == len(found.rows)


def test_rank_deficient_rows_are_dominated_within_their_span(make_network, rng) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6, n_latent=1).frames(rng, 150, 40)
    rows, span, found = streamed(frames)
    assert span.rank < rows.n_columns
    assert found.converged
    assert all_grades(rows, found).max() <= 1.001 + 1e-6
    outside = np.abs(rows.dense(slice(0, rows.n_rows)) @ span.outside).max()
    assert outside <= found.largest_outside


def test_threads_and_repeats_change_nothing(make_network, rng) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 100, 40, width=1.0)
    first, again, threads = (
        streamed(frames, **options)[2] for options in ({}, {}, {"n_threads": 3})
    )
    for other in (again, threads):
        np.testing.assert_array_equal(first.rows, other.rows)
        np.testing.assert_array_equal(first.inverse, other.inverse)


def test_a_row_that_the_sample_misses_is_found(make_network, rng) -> None:
    network = make_network(n_descriptors=8, n_neurons=6)
    frames = network.frames(rng, 100, 40, width=0.5)
    strange = network.factors([0], 1.0 + rng.standard_normal((1, 8)))
    rows, _, found = streamed([*frames[:33], strange, *frames[33:]])
    assert found.converged
    assert 33 * 40 in found.rows
    assert all_grades(rows, found).max() <= 1.001 + 1e-6


def test_repeats_and_ties_do_not_enter_twice(make_network, rng) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 40, 40, width=1.0)
    rows, _, found = streamed(frames * 3)
    chosen = rows.dense(found.rows)
    assert found.converged
    assert len(np.unique(chosen.round(12), axis=0)) == len(chosen)


def test_rare_element_beside_a_frequent_one_is_dominated_too(make_network, rng) -> None:
    network = make_network(n_types=2, n_descriptors=8, n_neurons=6)
    frames = network.frames(rng, 80, 40, width=1.0)
    frames = [f if k % 20 == 0 else only_copper(f) for k, f in enumerate(frames)]
    active_set = build_active_set(frames, ["Cu", "Au"], memory_limit_MB=1e-6, n_threads=2)
    copper, gold = active_set.members
    assert copper.n_rows > 1024 > gold.n_rows > 0
    assert copper.converged
    assert gold.converged
    assert frame_grades(active_set, frames).max() <= 1.001 + 1e-6


def only_copper(frame):
    of_copper = frame.types == 0
    return ProjectionFactors(
        frame.types[of_copper], frame.y[of_copper], frame.v[of_copper], frame.t[of_copper]
    )


def test_giving_up_before_all_rows_are_dominated_is_said(make_network, rng, monkeypatch) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 300, 40, width=1.0)
    monkeypatch.setattr(dominant_rows, "_MAX_PASSES", 0)
    monkeypatch.setattr(dominant_rows, "_MAX_ROUNDS", 0)
    rows, _, found = streamed(frames)
    assert not found.converged
    assert found.largest > 1.001
    assert found.largest == pytest.approx(all_grades(rows, found).max(), rel=1e-9)


def test_few_swaps_after_the_last_pass_are_verified_by_a_bound(
    make_network, rng, monkeypatch
) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 300, 40, width=1.0)
    calls = []

    def counted(*args, **options):
        calls.append(len(options["places"]))
        return original(*args, **options)

    original = dominant_rows.grades_after_swaps
    monkeypatch.setattr(dominant_rows, "grades_after_swaps", counted)
    monkeypatch.setattr(dominant_rows, "_FEW_PLACES", 1)
    monkeypatch.setattr(dominant_rows, "_MAX_ROUNDS", 1)
    rows, _, found = streamed(frames)
    assert calls
    assert found.converged
    assert found.largest == pytest.approx(all_grades(rows, found).max(), abs=1e-9)
    assert all_grades(rows, found).max() <= 1.001 + 1e-9


def test_out_of_span_components_in_doubt_are_measured(make_network, rng) -> None:
    frames = make_network().frames(rng, 100, 40, width=1.0)
    rows = DesignRows(frames, 0)
    span = element_span(rows, rcond=1e-2, n_before=rows.n_rows)
    found = subspace_dominant_rows(rows, span, tolerance=1.001, memory=SCARCE)
    outside = np.abs(rows.dense(slice(0, rows.n_rows)) @ span.outside).max()
    assert found.largest_outside == pytest.approx(outside)
    sizes = np.linalg.norm(rows.dense(slice(0, rows.n_rows)) / span.column_scale, axis=1)
    assert found.median_size == pytest.approx(np.median(sizes))


@pytest.mark.parametrize("n_latent", [4, 1])
def test_published_variant_keeps_its_word_with_and_without_full_rank(
    make_network, rng, n_latent
) -> None:
    frames = make_network(n_latent=n_latent).frames(rng, 80, 40, width=1.0)
    rows = DesignRows(frames, 0)
    found = full_dominant_rows(rows, rcond=1e-8, tolerance=1.001, memory=SCARCE)
    grades = all_grades(rows, found)
    assert len(found.rows) == rows.n_columns
    assert found.largest == pytest.approx(grades.max(), rel=1e-6)
    assert found.converged == (grades.max() <= 1.001)
    assert found.converged or n_latent == 1
