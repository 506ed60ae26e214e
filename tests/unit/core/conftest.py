"""Networks with random weights, and the factors of frames with random descriptors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from nepal_flows.core.nep.projections import ProjectionFactors


@dataclass(frozen=True, eq=False)
class RandomNetwork:
    """One hidden layer per element; descriptors live on a curved sheet of few dimensions."""

    n_types: int
    n_descriptors: int
    n_neurons: int
    w0: np.ndarray
    b0: np.ndarray
    w1: np.ndarray
    sheet: np.ndarray

    @property
    def n_projection(self) -> int:
        return self.n_neurons * (self.n_descriptors + 2)

    def descriptors(self, rng: np.random.Generator, n: int, width: float) -> np.ndarray:
        latent = width * rng.standard_normal((n, self.sheet.shape[1]))
        return 1.0 + 0.3 * np.sin(latent @ self.sheet.T)

    def factors(self, types: np.ndarray, y: np.ndarray) -> ProjectionFactors:
        types = np.asarray(types, dtype=np.int64)
        t = np.tanh(np.einsum("ind,id->in", self.w0[types], y) - self.b0[types])
        return ProjectionFactors(types, y, self.w1[types] * (1.0 - t**2), t)

    def frame(
        self, rng: np.random.Generator, n_atoms: int, width: float = 0.5, n_types: int | None = None
    ) -> ProjectionFactors:
        types = rng.integers(0, n_types or self.n_types, n_atoms)
        return self.factors(types, self.descriptors(rng, n_atoms, width))

    def frames(
        self, rng: np.random.Generator, n_frames: int, n_atoms: int, width: float = 0.5
    ) -> list[ProjectionFactors]:
        return [self.frame(rng, n_atoms, width) for _ in range(n_frames)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def make_network() -> Callable[..., RandomNetwork]:
    def make(
        n_types: int = 1, n_descriptors: int = 5, n_neurons: int = 4, n_latent: int = 4
    ) -> RandomNetwork:
        rng = np.random.default_rng(11)
        w0 = rng.standard_normal((n_types, n_neurons, n_descriptors))
        return RandomNetwork(
            n_types=n_types,
            n_descriptors=n_descriptors,
            n_neurons=n_neurons,
            w0=w0,
            b0=w0.sum(axis=2),
            w1=rng.standard_normal((n_types, n_neurons)),
            sheet=rng.standard_normal((n_descriptors, n_latent)),
        )

    return make
