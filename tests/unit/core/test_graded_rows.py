import numpy as np
import pytest

from nepal_flows.core.design_rows import DesignRows
from nepal_flows.core.graded_rows import grades_after_swaps, row_grades, row_products


@pytest.fixture
def rows(make_network, rng):
    return DesignRows(make_network().frames(rng, 50, 30, width=1.0), 0)


@pytest.fixture
def inverse(rows):
    return np.linalg.inv(rows.dense(np.arange(0, rows.n_rows, 50)[: rows.n_columns]))


def test_grades_are_the_largest_magnitudes_of_the_product(rows, inverse) -> None:
    expected = np.abs(rows.dense(slice(0, rows.n_rows)) @ inverse).max(axis=1)
    np.testing.assert_allclose(row_grades(rows, inverse), expected, rtol=1e-8)
    some = np.array([3, 700, 5])
    np.testing.assert_allclose(row_grades(rows, inverse, which=some), expected[some], rtol=1e-8)
    np.testing.assert_allclose(
        row_products(rows, some, inverse), rows.dense(some) @ inverse, rtol=1e-8, atol=1e-10
    )


def test_threads_change_nothing(rows, inverse) -> None:
    for in_float32 in (False, True):
        one = row_grades(rows, inverse, in_float32=in_float32)
        three = row_grades(rows, inverse, in_float32=in_float32, n_threads=3)
        np.testing.assert_array_equal(one, three)


def test_single_precision_is_close_where_the_matrix_is_well_conditioned(rows) -> None:
    scale = np.diag(1.0 / np.abs(rows.dense(slice(0, rows.n_rows))).max(axis=0))
    np.testing.assert_allclose(
        row_grades(rows, scale, in_float32=True), row_grades(rows, scale), rtol=1e-5
    )


def test_no_columns_and_no_rows_have_no_grade(rows) -> None:
    np.testing.assert_array_equal(row_grades(rows, np.zeros((rows.n_columns, 0))), 0.0)
    nothing = np.zeros(0, dtype=np.int64)
    assert row_grades(rows, np.eye(rows.n_columns), which=nothing).shape == (0,)


@pytest.mark.parametrize("n_changed", [1, 3])
def test_after_few_swaps_grades_above_one_are_exact_and_others_bounded(rows, n_changed) -> None:
    everything = rows.dense(slice(0, rows.n_rows))
    active = np.arange(0, rows.n_rows, 50)[: rows.n_columns]
    former = np.linalg.inv(rows.dense(active))
    places = np.arange(n_changed) * 7
    members = np.array([11, 401, 803])[:n_changed]
    active[places] = members
    fresh = np.linalg.inv(rows.dense(active))
    exact = np.abs(everything @ fresh).max(axis=1)
    found = grades_after_swaps(
        rows,
        np.abs(everything @ former).max(axis=1),
        fresh,
        former_inverse=former,
        places=places,
        members=members,
    )
    above = exact > 1.0
    assert above.any()
    assert not above.all()
    np.testing.assert_allclose(found[above], exact[above], rtol=1e-7)
    assert (found >= exact * (1.0 - 1e-7)).all()
    assert (found[~above] <= 1.0 + 1e-7).all()
