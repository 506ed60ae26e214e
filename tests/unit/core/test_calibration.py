import numpy as np
import pytest
from scipy.stats import spearmanr

from nepal_flows.core.calibration import grade_error_table, rank_correlation
from nepal_flows.errors import InputError


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    grades = rng.integers(0, 20, 200).astype(float)
    errors = grades + rng.integers(0, 30, 200)
    assert rank_correlation(grades, errors) == pytest.approx(spearmanr(grades, errors).statistic)


def test_rank_correlation_of_constant_or_few_data_is_undefined() -> None:
    assert rank_correlation(np.ones(5), np.arange(5.0)) is None
    assert rank_correlation(np.arange(2.0), np.arange(2.0)) is None


def test_bins_count_every_atom_once() -> None:
    rng = np.random.default_rng(1)
    grades = 10.0 ** rng.uniform(-2, 4, 500)
    errors = rng.random(500)
    table = grade_error_table(grades, errors)
    assert sum(b.n_atoms for b in table.bins) == table.n_atoms == 500
    assert all(a.gamma_to == b.gamma_from for a, b in zip(table.bins, table.bins[1:], strict=False))
    for b in table.bins:
        own = errors[(grades >= b.gamma_from) & (grades < b.gamma_to)]
        assert b.n_atoms == len(own)
        assert b.rmse == pytest.approx(np.sqrt((own**2).mean() / 3))
        assert b.p99 == pytest.approx(np.quantile(own, 0.99))
        assert b.largest == own.max()


def test_vectors_and_their_norms_give_one_table() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((50, 3))
    grades = rng.random(50)
    by_vector = grade_error_table(grades, vectors)
    assert by_vector == grade_error_table(grades, np.linalg.norm(vectors, axis=1))
    assert by_vector.bins[0].rmse == pytest.approx(np.sqrt((vectors[grades < 0.5] ** 2).mean()))


def test_an_atom_at_the_limit_is_called_safe() -> None:
    table = grade_error_table(np.array([5.0, 5.1, 1.0]), np.array([0.3, 0.9, 0.1]), gamma_low=5.0)
    assert table.n_called_safe == 2
    assert table.largest_error_called_safe == 0.3
    assert table.share_called_safe == pytest.approx(2 / 3)


def test_infinite_grades_are_in_the_last_bin() -> None:
    table = grade_error_table(np.array([np.inf, 2e3]), np.array([1.0, 2.0]))
    assert len(table.bins) == 1
    assert table.bins[0].n_atoms == 2
    assert table.largest_error_called_safe is None


def test_no_atoms_is_an_empty_table() -> None:
    table = grade_error_table(np.zeros(0), np.zeros(0))
    assert table.bins == ()
    assert table.share_called_safe is None
    assert table.spearman is None


def test_impossible_input_is_refused() -> None:
    with pytest.raises(InputError, match="one of each"):
        grade_error_table(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="NaN"):
        grade_error_table(np.array([np.nan]), np.zeros(1))
    with pytest.raises(InputError, match="rise"):
        grade_error_table(np.zeros(1), np.zeros(1), edges=[1.0, 1.0])
