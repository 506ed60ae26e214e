import numpy as np
import pytest

from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.extrapolation import (
    extrapolation_grades,
    frame_grades,
    structure_grades,
)
from nepal_flows.core.nep.projections import ProjectionFactors, dense_projections
from nepal_flows.errors import ActiveSetError


def design(frames, kind=0):
    return np.concatenate(
        [dense_projections(frame)[np.asarray(frame.types) == kind] for frame in frames]
    )


def rows_of(frames, places):
    return np.stack([dense_projections(frames[frame])[atom] for frame, atom in places])


def test_no_training_row_exceeds_the_tolerance(make_network, rng) -> None:
    frames = make_network().frames(rng, 12, 20)
    active_set = build_active_set(frames, ["Cu"])
    member = active_set.members[0]
    grades = extrapolation_grades(design(frames), member.inverse)
    assert member.converged
    assert grades.max() <= 1.001 + 1e-9
    assert member.largest_training_grade == pytest.approx(grades.max())


def test_grade_is_one_on_the_active_rows(make_network, rng) -> None:
    frames = make_network().frames(rng, 12, 20)
    member = build_active_set(frames, ["Cu"]).members[0]
    coefficients = rows_of(frames, member.active_rows) @ member.inverse[:, : member.n_in]
    np.testing.assert_allclose(coefficients, np.eye(member.n_in), atol=1e-6)


def test_full_rank_inverse_is_that_of_the_active_rows(make_network, rng) -> None:
    network = make_network(n_latent=5)
    frames = network.frames(rng, 40, 20, width=1.0)
    member = build_active_set(frames, ["Cu"]).members[0]
    assert member.rank == network.n_projection
    expected = np.linalg.inv(rows_of(frames, member.active_rows))
    np.testing.assert_allclose(
        member.inverse, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max()
    )


def test_rank_is_that_of_the_scaled_design_matrix(make_network, rng) -> None:
    frames = make_network(n_latent=1).frames(rng, 20, 20)
    member = build_active_set(frames, ["Cu"]).members[0]
    scaled = design(frames) / member.column_scale
    values = np.linalg.svd(scaled, compute_uv=False)
    assert member.rank == (values > 1e-6 * values[0]).sum() < member.n_projection
    assert member.n_in == member.rank


def test_matrix_is_square_and_finite_with_fewer_rows_than_columns(make_network, rng) -> None:
    network = make_network()
    frames = [network.frame(rng, 3)]
    member = build_active_set(frames, ["Cu"]).members[0]
    assert member.inverse.shape == (network.n_projection, network.n_projection)
    assert np.isfinite(member.inverse).all()
    assert member.rank == 3
    assert not member.is_saturated


def test_directions_that_no_row_spans_are_part_of_the_grade(make_network, rng) -> None:
    network = make_network()
    frames = network.frames(rng, 2, 4)
    active_set = build_active_set(frames, ["Cu"])
    member = active_set.members[0]
    other = network.frame(rng, 50, width=1.0)
    inside = np.abs(dense_projections(other) @ member.inverse[:, : member.n_in]).max(axis=1)
    grades = structure_grades(active_set, other)
    assert (grades >= inside - 1e-12).all()
    assert (grades > inside).any()


def test_out_of_span_scale_has_the_floor_of_the_typical_size(make_network, rng) -> None:
    frames = make_network().frames(rng, 3, 4)
    member = build_active_set(frames, ["Cu"]).members[0]
    sizes = np.linalg.norm(design(frames) / member.column_scale, axis=1)
    assert member.out_of_span_scale == pytest.approx(1e-3 * np.median(sizes))


def test_small_noise_on_projections_moves_the_grade_little(make_network, rng) -> None:
    network = make_network(n_latent=1)
    frames = network.frames(rng, 20, 20)
    rows = design(frames)
    noisy = rows * (1.0 + 6e-8 * rng.standard_normal(rows.shape))
    inverse = build_active_set(frames, ["Cu"]).members[0].inverse
    change = np.abs(extrapolation_grades(noisy, inverse) - extrapolation_grades(rows, inverse))
    assert change.max() < 0.2


@pytest.mark.parametrize("variant", ["subspace", "full"])
def test_streaming_finds_a_dominant_set_too(make_network, rng, variant) -> None:
    frames = make_network(n_descriptors=8, n_neurons=6).frames(rng, 160, 32, width=1.0)
    whole = build_active_set(frames, ["Cu"], variant=variant).members[0]
    streamed = build_active_set(
        frames, ["Cu"], variant=variant, memory_limit_MB=0.2, n_threads=2
    ).members[0]
    grades = extrapolation_grades(design(frames), streamed.inverse)
    assert streamed.converged
    assert streamed.rank == whole.rank
    assert grades.max() <= 1.001 + 1e-6
    assert streamed.log_determinant >= whole.log_determinant - 3.0


def test_threads_change_nothing(make_network, rng) -> None:
    frames = make_network().frames(rng, 30, 64, width=1.0)
    one = build_active_set(frames, ["Cu"], n_threads=1)
    two = build_active_set(frames, ["Cu"], n_threads=2)
    np.testing.assert_array_equal(one.inverses, two.inverses)


def test_frames_without_an_element_are_ordinary(make_network, rng) -> None:
    network = make_network(n_types=2)
    frames = network.frames(rng, 6, 12)
    frames.insert(2, network.frame(rng, 12, n_types=1))
    active_set = build_active_set(frames, ["Cu", "Au"])
    assert [member.n_rows for member in active_set.members] == [
        len(design(frames, 0)),
        len(design(frames, 1)),
    ]
    gold = active_set.of_element("Au")
    assert all(frames[f].types[a] == 1 for f, a in gold.active_rows)
    assert structure_grades(active_set, frames[2]).max() <= 1.001 + 1e-9


def test_element_without_any_row_is_all_out_of_span(make_network, rng) -> None:
    network = make_network(n_types=2)
    frames = [network.frame(rng, 12, n_types=1) for _ in range(4)]
    active_set = build_active_set(frames, ["Cu", "Au"])
    gold = active_set.of_element("Au")
    assert (gold.n_rows, gold.rank, gold.n_distinct_rows, gold.is_saturated) == (0, 0, 0, False)
    unseen = network.factors(np.ones(5), network.descriptors(rng, 5, 0.5))
    assert structure_grades(active_set, unseen).min() > 10.0


def test_one_row_is_an_active_set(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 1)
    active_set = build_active_set([frame], ["Cu"])
    assert active_set.members[0].rank == 1
    np.testing.assert_allclose(structure_grades(active_set, frame), [1.0], atol=1e-9)


def test_repeated_rows_count_once(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 6)
    twice = [frame, frame, network.factors(frame.types, frame.y * (1.0 + 1e-15))]
    member = build_active_set(twice, ["Cu"]).members[0]
    assert member.n_rows == 18
    assert member.n_distinct_rows == 6
    assert member.rank == 6
    assert not member.is_saturated


def test_zero_rows_are_harmless(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 6)
    silent = ProjectionFactors(
        np.zeros(3, dtype=np.int64), np.zeros((3, 5)), np.zeros((3, 4)), np.zeros((3, 4))
    )
    with_zeros = build_active_set([frame, silent], ["Cu"])
    assert with_zeros.members[0].rank == 6
    np.testing.assert_allclose(structure_grades(with_zeros, silent), 0.0)
    only_zeros = build_active_set([silent], ["Cu"])
    assert only_zeros.members[0].rank == 0
    assert np.isfinite(only_zeros.inverses).all()
    assert structure_grades(only_zeros, frame).min() > 1.0


def test_column_that_never_varies_from_zero_gets_a_floor(make_network, rng) -> None:
    network = make_network()
    y = network.descriptors(rng, 200, 0.5)
    y[:, 2] = 1e-15 * rng.standard_normal(200)
    active_set = build_active_set([network.factors(np.zeros(200), y)], ["Cu"])
    scale = active_set.members[0].column_scale.reshape(4, 7)
    assert (scale[:, 2] >= 0.05 * np.median(scale[:, :6], axis=1) * (1 - 1e-9)).all()
    moved = y.copy()
    moved[:, 2] = 1e-9
    assert structure_grades(active_set, network.factors(np.zeros(200), moved)).max() < 1.1


def test_columns_that_ideal_cells_leave_at_rounding_do_not_set_the_floor(make_network, rng) -> None:
    network = make_network()
    y = network.descriptors(rng, 200, 0.5)
    y[:, 1:] = 1e-32 * rng.standard_normal((200, y.shape[1] - 1))
    active_set = build_active_set([network.factors(np.zeros(200), y)], ["Cu"])
    scale = active_set.members[0].column_scale.reshape(4, 7)
    assert (scale[:, 1:6] >= 0.04 * scale[:, [0, 5]].min(axis=1, keepdims=True)).all()
    moved = y.copy()
    moved[:, 1:] = 0.1
    grades = structure_grades(active_set, network.factors(np.zeros(200), moved))
    assert 10.0 < grades.max() < 1e8


def test_rank_saturates_when_the_last_batch_adds_no_direction(make_network, rng) -> None:
    network = make_network(n_latent=2)
    frames = network.frames(rng, 40, 20)
    settled = build_active_set(frames, ["Cu"], n_last_batch=4).members[0]
    assert settled.is_saturated
    assert settled.rank_before_last_batch == settled.rank
    novel = [network.factors(np.zeros(20), rng.uniform(0.0, 2.0, (20, 5)))]
    grown = build_active_set(frames + novel, ["Cu"], n_last_batch=1).members[0]
    assert grown.rank > 1.02 * grown.rank_before_last_batch
    assert not grown.is_saturated
    patient = build_active_set(frames + novel, ["Cu"], n_last_batch=1, max_rank_growth=5.0)
    assert patient.members[0].is_saturated


def test_a_single_batch_is_never_saturated(make_network, rng) -> None:
    frames = make_network(n_latent=1).frames(rng, 10, 20)
    member = build_active_set(frames, ["Cu"], n_last_batch=10).members[0]
    assert member.rank_before_last_batch == 0
    assert not member.is_saturated


def test_full_variant_takes_all_rows_when_there_are_few(make_network, rng) -> None:
    network = make_network()
    frames = [network.frame(rng, 5)]
    member = build_active_set(frames, ["Cu"], variant="full").members[0]
    assert member.n_in == 5
    assert member.inverse.shape == (network.n_projection, network.n_projection)
    np.testing.assert_allclose(member.inverse[:, 5:], 0.0)
    expected = np.linalg.pinv(rows_of(frames, member.active_rows), rcond=1e-8)
    np.testing.assert_allclose(member.inverse[:, :5], expected)


def test_full_variant_survives_rank_deficiency(make_network, rng) -> None:
    frames = make_network(n_latent=1).frames(rng, 30, 20)
    active_set = build_active_set(frames, ["Cu"], variant="full")
    member = active_set.members[0]
    assert np.isfinite(member.inverse).all()
    assert member.out_of_span_scale is None
    assert member.largest_training_grade == pytest.approx(frame_grades(active_set, frames).max())


def test_model_hash_is_checked(make_network, rng) -> None:
    active_set = build_active_set(make_network().frames(rng, 2, 4), ["Cu"], model_sha256="a" * 64)
    active_set.require_model("a" * 64)
    with pytest.raises(ActiveSetError, match=r"aaaaaaaaaaaa.*bbbbbbbbbbbb"):
        active_set.require_model("b" * 64)
    with pytest.raises(ActiveSetError, match="Au"):
        active_set.of_element("Au")


def test_impossible_input_is_refused(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 4)
    broken = ProjectionFactors(frame.types, frame.y * np.nan, frame.v, frame.t)
    with pytest.raises(ActiveSetError, match="no frames"):
        build_active_set([], ["Cu"])
    with pytest.raises(ActiveSetError, match="frame 1 hold NaN"):
        build_active_set([frame, broken], ["Cu"])
    with pytest.raises(ActiveSetError, match="no elements"):
        build_active_set([frame], [])
    with pytest.raises(ActiveSetError, match="disagree"):
        build_active_set([frame, make_network(n_descriptors=6).frame(rng, 4)], ["Cu"])
    for wrong in ({"variant": "square"}, {"rcond": 0.0}, {"tolerance": 0.5}, {"n_last_batch": -1}):
        with pytest.raises(ActiveSetError, match=next(iter(wrong))):
            build_active_set([frame], ["Cu"], **wrong)
    two = ProjectionFactors(np.full(4, 1), frame.y, frame.v, frame.t)
    with pytest.raises(ActiveSetError, match="type 1"):
        build_active_set([two], ["Cu"])
