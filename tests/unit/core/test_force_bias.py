"""Slopes of predicted against reference forces."""

import numpy as np
import pytest

from nepal_flows.core.force_bias import force_bias, small_force_share


@pytest.fixture
def reference(rng):
    return rng.normal(size=(4000, 3))


def test_shrunken_forces_are_flagged_with_their_slope(reference, rng):
    bias = force_bias(reference, 0.9 * reference + 0.05 * rng.normal(size=(4000, 3)), ["a"] * 4000)
    assert bias.whole.slope == pytest.approx(0.9, abs=3 * bias.whole.standard_error)
    assert bias.whole.is_biased
    assert all(part.is_biased for part in bias.by_magnitude)


def test_scatter_alone_is_not_flagged(reference, rng):
    bias = force_bias(reference, reference + 0.2 * rng.normal(size=(4000, 3)), ["a"] * 4000)
    assert not bias.whole.is_biased
    assert not bias.by_condition[0].is_biased


def test_few_atoms_with_a_chance_slope_are_not_flagged(rng):
    reference = 0.05 * rng.normal(size=(4, 3))
    bias = force_bias(reference, reference + 0.2 * rng.normal(size=(4, 3)), ["a"] * 4)
    assert abs(bias.whole.slope - 1.0) > 0.03
    assert not bias.whole.is_biased


def test_one_condition_that_was_never_sampled_is_named(reference):
    names = ["crystal"] * 2000 + ["liquid"] * 2000
    factors = np.repeat([1.0, 0.77], 2000)[:, None]
    bias = force_bias(reference, factors * reference, names)
    assert [(part.name, part.is_biased) for part in bias.by_condition] == [
        ("crystal", False),
        ("liquid", True),
    ]


def test_standard_error_is_that_of_repeated_draws(rng):
    reference = rng.normal(size=(300, 3))
    slopes, errors = [], []
    for _ in range(200):
        predicted = reference + 0.3 * rng.normal(size=reference.shape)
        whole = force_bias(reference, predicted, ["a"] * 300).whole
        slopes.append(whole.slope)
        errors.append(whole.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(slopes), rel=0.15)


def test_tenths_hold_all_atoms_with_a_force_by_rising_magnitude(reference):
    still = np.zeros((100, 3))
    both = np.concatenate([reference, still])
    bias = force_bias(both, both, ["a"] * len(both))
    assert sum(part.n_atoms for part in bias.by_magnitude) == 4000
    means = [part.mean_force for part in bias.by_magnitude]
    assert means == sorted(means)
    assert small_force_share(both) == pytest.approx(100 / 4100)


def test_atoms_without_force_have_no_slope():
    assert force_bias(np.zeros((5, 3)), np.ones((5, 3)), ["a"] * 5) is None
    assert small_force_share(np.zeros((0, 3))) == 0.0
