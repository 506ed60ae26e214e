"""The start of MaxVol by one pivoted LU of all rows."""

import numpy as np
import pytest

from nepal_flows.core.maxvol_start import lu_start


def test_start_expresses_all_rows_in_the_first_ones() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((80, 10)) * 10.0 ** (-0.4 * np.arange(10))
    coefficients, order, pivots = lu_start(matrix)
    expected = matrix[order] @ np.linalg.inv(matrix[order[:10]])
    np.testing.assert_allclose(coefficients, expected, atol=1e-9)
    assert np.log(pivots).sum() == pytest.approx(np.linalg.slogdet(matrix[order[:10]])[1])


def test_start_may_overwrite_the_matrix() -> None:
    matrix = np.random.default_rng(1).standard_normal((80, 10))
    expected = lu_start(matrix)[0]
    found = lu_start(matrix, overwrite=True)[0]
    assert np.shares_memory(found, matrix)
    np.testing.assert_array_equal(found, expected)
