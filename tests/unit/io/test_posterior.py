"""Posteriors as bytes."""

import numpy as np
import pytest

from nepal_flows.core.bayes.evidence import Posterior
from nepal_flows.errors import ModelError
from nepal_flows.io.posterior import pack_posterior, unpack_posterior


@pytest.fixture
def posterior() -> Posterior:
    rng = np.random.default_rng(0)
    return Posterior(
        layer="all",
        root=np.triu(rng.normal(size=(7, 7))),
        priors=np.array([1.0, 2.0]),
        noises=np.array([0.1, 0.2, np.nan]),
        scales=np.array([1.0, 2.0, np.nan]),
        training_deviations=np.array([0.01, 0.02, np.nan]),
        n_rows=np.array([3.0, 9.0, 0.0]),
        n_determined=4.5,
        n_iterations=12,
    )


def test_posterior_comes_back_in_single_precision(posterior: Posterior) -> None:
    packed = unpack_posterior(pack_posterior(posterior, "abc"))
    back = packed.require_model("abc")
    assert back.root.dtype == np.float32
    np.testing.assert_array_equal(back.root, posterior.root.astype(np.float32))
    for name in ("priors", "noises", "scales", "training_deviations", "n_rows"):
        np.testing.assert_array_equal(getattr(back, name), getattr(posterior, name))
    assert (back.layer, back.n_determined, back.n_iterations) == ("all", 4.5, 12)
    assert pack_posterior(back, "abc") == pack_posterior(posterior, "abc")


def test_posterior_of_another_model_is_refused(posterior: Posterior) -> None:
    packed = unpack_posterior(pack_posterior(posterior, "abc"))
    with pytest.raises(ModelError, match="belongs to the model abc"):
        packed.require_model("def")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x93NUMPY"])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="no posterior"):
        unpack_posterior(content)


def test_bytes_cut_short_are_refused(posterior: Posterior) -> None:
    with pytest.raises(ModelError):
        unpack_posterior(pack_posterior(posterior, "abc")[:-5])
