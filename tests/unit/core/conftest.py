"""Random models and structures; networks with random weights and frames of random descriptors."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.structure import Structure


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


def random_model(seed: int = 0, **changes: Any) -> NepModel:
    """Return a model with random numbers, as read back from a nep.txt."""
    fields: dict[str, Any] = {
        "elements": ("Cu",),
        "radial_cutoffs": (5.5,),
        "angular_cutoffs": (4.5,),
        "n_max_radial": 4,
        "n_max_angular": 3,
        "basis_size_radial": 7,
        "basis_size_angular": 6,
        "l_max": 4,
        "has_q_222": True,
        "has_q_1111": False,
        "n_neurons": 11,
    }
    a = NepArchitecture(**(fields | changes))
    rng = np.random.default_rng(seed)
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    return NepModel(
        architecture=a,
        w0=rng.normal(size=(T, N, D)) / np.sqrt(D),
        b0=rng.normal(size=(T, N)),
        w1=0.3 * rng.normal(size=(T, N)),
        b1=1.3,
        c_radial=rng.normal(size=(a.n_max_radial + 1, a.basis_size_radial + 1, T, T)),
        c_angular=rng.normal(size=(a.n_max_angular + 1, a.basis_size_angular + 1, T, T)),
        q_scaler=rng.uniform(0.1, 1.0, size=D),
        max_neighbours=(400, 300),
    )


def random_structure(
    numbers: tuple[int, ...] = (29,), n_atoms: int = 14, *, seed: int = 0, edge: float = 6.0
) -> Structure:
    """Return atoms in a skewed cell, no two closer than 1.2 Å."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * edge + rng.normal(size=(3, 3)) * 0.1 * edge
    atoms = ase.Atoms(cell=cell, pbc=True)
    while len(atoms) < n_atoms:
        atoms.append(ase.Atom(int(rng.choice(numbers)), rng.uniform(size=3) @ cell))
        distances = atoms.get_all_distances(mic=True)[-1, :-1]
        if len(distances) and distances.min() < 1.2:
            del atoms[-1]
    return Structure(atoms.numbers, atoms.positions, cell)


@pytest.fixture(name="random_model")
def _random_model() -> Callable[..., NepModel]:
    return random_model


@pytest.fixture(name="random_structure")
def _random_structure() -> Callable[..., Structure]:
    return random_structure
