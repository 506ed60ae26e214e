import numpy as np
import pytest

from nepal_flows.core.maxvol import improve, maxvol
from nepal_flows.errors import ActiveSetError


def decaying_matrix(n: int, r: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, r)) * 10.0 ** (-4.0 * np.arange(r) / r) * rng.random((n, 1))


@pytest.mark.parametrize(("n", "r"), [(300, 40), (41, 40), (700, 150)])
def test_every_entry_is_within_the_tolerance(n: int, r: int) -> None:
    matrix = decaying_matrix(n, r)
    found = maxvol(matrix)
    coefficients = matrix @ np.linalg.inv(matrix[found.rows])
    assert found.converged
    assert len(set(found.rows.tolist())) == r
    assert np.abs(coefficients).max() <= 1.001 + 1e-8
    assert found.largest == pytest.approx(np.abs(coefficients).max(), abs=1e-8)


def test_log_determinant_is_that_of_the_chosen_rows() -> None:
    matrix = decaying_matrix(200, 30)
    found = maxvol(matrix)
    assert found.log_determinant == pytest.approx(np.linalg.slogdet(matrix[found.rows])[1])


def test_volume_never_falls_from_one_swap_to_the_next() -> None:
    matrix = decaying_matrix(400, 30)
    volumes = [maxvol(matrix, max_swaps=k).log_determinant for k in range(12)]
    assert np.all(np.diff(volumes) >= 0.0)
    assert volumes[-1] > volumes[0]


def test_volume_reaches_that_of_plain_swapping_of_the_largest_entry() -> None:
    matrix = decaying_matrix(150, 20)
    rows = np.arange(20)
    while True:
        coefficients = matrix @ np.linalg.inv(matrix[rows])
        i, j = np.unravel_index(np.abs(coefficients).argmax(), coefficients.shape)
        if abs(coefficients[i, j]) <= 1.001:
            break
        rows[j] = i
    plain = np.linalg.slogdet(matrix[rows])[1]
    assert maxvol(matrix).log_determinant >= plain - 0.5


def test_pairs_of_swaps_leave_local_maxima() -> None:
    matrix = np.random.default_rng(5).standard_normal((500, 60))
    single, paired = maxvol(matrix, max_pairs=0), maxvol(matrix, max_pairs=200)
    assert single.converged
    assert paired.converged
    assert paired.log_determinant > single.log_determinant + 0.1


def test_choice_does_not_depend_on_a_change_of_basis_of_the_columns() -> None:
    matrix = decaying_matrix(120, 12)
    mixing = np.random.default_rng(3).standard_normal((12, 12))
    first, second = maxvol(matrix), maxvol(matrix @ mixing)
    ratio = np.linalg.slogdet(mixing)[1]
    assert second.log_determinant == pytest.approx(first.log_determinant + ratio, abs=0.5)


def test_equal_input_gives_equal_output() -> None:
    matrix = decaying_matrix(300, 25)
    first, second = maxvol(matrix), maxvol(matrix.copy())
    np.testing.assert_array_equal(first.rows, second.rows)
    assert first.log_determinant == second.log_determinant


def test_square_matrix_takes_all_its_rows() -> None:
    found = maxvol(np.random.default_rng(0).standard_normal((9, 9)))
    assert sorted(found.rows.tolist()) == list(range(9))
    assert found.converged
    assert found.n_swaps == 0


def test_one_row_and_one_column_are_enough() -> None:
    found = maxvol(np.array([[2.0], [-5.0], [1.0]]))
    assert found.rows.tolist() == [1]
    assert found.log_determinant == pytest.approx(np.log(5.0))


def test_repeated_and_zero_rows_are_left_out() -> None:
    core = decaying_matrix(30, 6)
    found = maxvol(np.concatenate([core, core, np.zeros((10, 6))]))
    assert found.converged
    assert found.rank == 6
    assert found.log_determinant == pytest.approx(maxvol(core).log_determinant)


def test_singular_matrix_reports_its_rank_and_no_volume() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((60, 4)) @ rng.standard_normal((4, 10))
    found = maxvol(matrix)
    assert found.rank == 4
    assert found.log_determinant == -np.inf
    assert np.linalg.matrix_rank(matrix[found.rows]) == 4


def test_giving_up_early_is_said() -> None:
    found = maxvol(decaying_matrix(400, 30), max_swaps=1)
    assert not found.converged
    assert found.largest > 1.001


@pytest.mark.parametrize(
    ("matrix", "tolerance", "words"),
    [
        (np.zeros((3, 5)), 1.001, "at least as many rows"),
        (np.zeros((3, 0)), 1.001, "one column"),
        (np.array([[1.0], [np.nan]]), 1.001, "NaN"),
        (np.ones((3, 1)), 0.5, "tolerance"),
    ],
)
def test_impossible_input_is_refused(matrix: np.ndarray, tolerance: float, words: str) -> None:
    with pytest.raises(ActiveSetError, match=words):
        maxvol(matrix, tolerance=tolerance)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_only_eligible_rows_enter_and_the_others_are_carried_along(n_threads: int) -> None:
    matrix = decaying_matrix(700, 15)
    coefficients = matrix @ np.linalg.inv(matrix[:15])
    eligible = np.arange(700) < 120
    rows = np.arange(15)
    grades = np.abs(coefficients).max(axis=1)
    found = improve(
        coefficients,
        rows,
        tolerance=1.001,
        eligible=eligible,
        grades=grades,
        n_threads=n_threads,
    )
    fresh = np.linalg.inv(matrix[rows])
    assert found.converged
    assert rows.max() < 120
    np.testing.assert_allclose(coefficients, matrix @ fresh, atol=1e-7)
    np.testing.assert_allclose(grades, np.abs(coefficients).max(axis=1))
    assert found.log_gain == pytest.approx(
        np.linalg.slogdet(matrix[rows])[1] - np.linalg.slogdet(matrix[:15])[1]
    )


@pytest.mark.parametrize("largest", [1e6, 1e12, 1e40])
def test_entries_far_beyond_single_precision_are_swapped_in(largest: float) -> None:
    rng = np.random.default_rng(4)
    matrix = rng.standard_normal((120, 12))
    matrix[5:9] *= largest
    coefficients = matrix @ np.linalg.inv(matrix[-12:])
    rows = np.arange(108, 120)
    found = improve(coefficients, rows, tolerance=1.001)
    assert found.converged
    assert set(range(5, 9)) <= set(rows.tolist())
    if largest < 1e15:
        assert np.abs(matrix @ np.linalg.inv(matrix[rows])).max() <= 1.001 + 1e-6


def test_holder_outside_of_the_rows_leaves_for_good() -> None:
    matrix = np.array([[0.5, 0.0], [4.0, 1.0]])
    rows = np.array([-1, -1])
    improve(np.asfortranarray(matrix), rows, tolerance=1.001)
    assert rows.tolist() == [1, -1]


def test_threads_change_nothing() -> None:
    matrix = decaying_matrix(1500, 30)
    one, three = maxvol(matrix), maxvol(matrix, n_threads=3)
    np.testing.assert_array_equal(one.rows, three.rows)
    assert (one.log_determinant, one.largest, one.drift) == (
        three.log_determinant, three.largest, three.drift,
    )  # fmt: skip
