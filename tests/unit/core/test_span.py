import numpy as np
import pytest

from nepal_flows.core import span
from nepal_flows.core.design_rows import DesignRows
from nepal_flows.core.span import element_span


@pytest.fixture
def rows(make_network, rng):
    """Rows whose singular values fall over eight decades."""
    frames = make_network(n_descriptors=8, n_neurons=6, n_latent=1).frames(rng, 60, 30, width=0.4)
    return DesignRows(frames, 0)


def by_qr(rows, monkeypatch, **options):
    with monkeypatch.context() as patch:
        patch.setattr(span, "SMALLEST_CUT_OF_GRAM", 1.0)
        return element_span(rows, **options)


def test_gram_matrix_and_qr_agree_down_to_the_cut(rows, monkeypatch) -> None:
    options = {"rcond": 1e-6, "n_before": rows.n_rows // 2}
    gram, qr = element_span(rows, **options), by_qr(rows, monkeypatch, **options)
    assert gram.rank == qr.rank < rows.n_columns
    assert gram.rank_before_last_batch == qr.rank_before_last_batch
    np.testing.assert_allclose(gram.column_scale, qr.column_scale, rtol=1e-12)
    np.testing.assert_allclose(
        gram.singular_values[: gram.rank], qr.singular_values[: qr.rank], rtol=1e-5
    )
    between = gram.directions[:, : gram.rank].T @ qr.directions[:, qr.rank :]
    assert np.abs(between).max() < 1e-3


def test_whitened_rows_have_orthonormal_columns(rows) -> None:
    found = element_span(rows, rcond=1e-6, n_before=rows.n_rows)
    whitened = rows.dense(slice(0, rows.n_rows)) @ found.whitening
    np.testing.assert_allclose(whitened.T @ whitened, np.eye(found.rank), atol=1e-2)
    outside = np.abs(rows.dense(slice(0, rows.n_rows)) @ found.outside).max()
    assert outside <= 1.01 * found.singular_values[found.rank]


def test_cuts_below_what_squares_resolve_are_taken_from_a_qr(rows) -> None:
    values = np.linalg.svd(
        rows.dense(slice(0, rows.n_rows)) / element_span(rows, rcond=1e-6, n_before=0).column_scale,
        compute_uv=False,
    )
    found = element_span(rows, rcond=1e-12, n_before=rows.n_rows)
    np.testing.assert_allclose(found.singular_values, values, rtol=1e-4, atol=1e-14 * values[0])
    assert found.rank == (values > 1e-12 * values[0]).sum()


@pytest.mark.parametrize("rcond", [1e-6, 1e-10])
def test_threads_and_an_absent_newest_batch_change_nothing(rows, rcond) -> None:
    one = element_span(rows, rcond=rcond, n_before=rows.n_rows, n_threads=1)
    two = element_span(rows, rcond=rcond, n_before=rows.n_rows, n_threads=2)
    np.testing.assert_array_equal(one.singular_values, two.singular_values)
    np.testing.assert_array_equal(one.directions, two.directions)
    assert one.rank == one.rank_before_last_batch


def test_fewer_rows_than_columns_have_their_number_as_rank(make_network, rng) -> None:
    rows = DesignRows([make_network().frame(rng, 5, width=1.0)], 0)
    for rcond in (1e-6, 1e-10):
        found = element_span(rows, rcond=rcond, n_before=0)
        assert found.rank == 5
        assert found.rank_before_last_batch == 0
        assert found.directions.shape == (rows.n_columns, rows.n_columns)
