"""Parents to carve, a rough copper model, and a random one of two elements."""

from collections.abc import Callable

import numpy as np
import pytest

from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure

EDGE = 3.62


def fcc(
    repeats: tuple[int, int, int],
    *,
    rattle: float = 0.0,
    seed: int = 0,
    numbers: tuple[int, ...] = (29,),
    transform: np.ndarray | None = None,
) -> Structure:
    """Return an fcc crystal; `transform` mixes its cubic cell vectors (whole numbers)."""
    rng = np.random.default_rng(seed)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.array(list(np.ndindex(*repeats)))
    fractions = (cells[:, None] + basis[None]).reshape(-1, 3) / np.array(repeats)
    cell = EDGE * np.diag(np.array(repeats, dtype=float))
    positions = fractions @ cell
    if transform is not None:
        cell = transform @ cell
    positions = positions + rattle * rng.standard_normal(positions.shape)
    return Structure(rng.choice(numbers, len(positions)), positions, cell)


@pytest.fixture(scope="session")
def copper_inverses(copper_model: NepModel) -> np.ndarray:
    """M of rattled, slightly strained crystals of the rough copper model."""
    frames = [
        projection_factors(copper_model, fcc((2, 2, 2), rattle=0.04 + 0.01 * k, seed=k))
        for k in range(10)
    ]
    return build_active_set(frames, ["Cu"]).inverses


@pytest.fixture(scope="session")
def void_parent() -> Structure:
    """A crystal of 1372 atoms without the 19 atoms around one of its sites."""
    whole = fcc((7, 7, 7), rattle=0.08, seed=3)
    middle = whole.positions[686]
    kept = np.linalg.norm(whole.positions - middle, axis=1) > 1.2 * EDGE / np.sqrt(2)
    return Structure(whole.numbers[kept], whole.positions[kept], whole.cell)


@pytest.fixture(scope="session")
def two_element_case() -> tuple[NepModel, ActiveSet]:
    """A small random model of copper and gold, and an active set of random cells."""
    a = NepArchitecture(
        elements=("Cu", "Au"),
        radial_cutoffs=(4.0, 4.0),
        angular_cutoffs=(3.5, 3.5),
        n_max_radial=3,
        n_max_angular=2,
        basis_size_radial=5,
        basis_size_angular=5,
        l_max=3,
        has_q_222=True,
        has_q_1111=False,
        n_neurons=5,
    )
    rng = np.random.default_rng(5)
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    model = NepModel(
        architecture=a,
        w0=rng.normal(size=(T, N, D)) / np.sqrt(D),
        b0=rng.normal(size=(T, N)),
        w1=0.3 * rng.normal(size=(T, N)),
        b1=0.4,
        c_radial=rng.normal(size=(a.n_max_radial + 1, a.basis_size_radial + 1, T, T)),
        c_angular=rng.normal(size=(a.n_max_angular + 1, a.basis_size_angular + 1, T, T)),
        q_scaler=rng.uniform(0.05, 0.3, size=D),
    )
    frames = [
        projection_factors(model, fcc((2, 2, 1), rattle=0.1, seed=k, numbers=(29, 79)))
        for k in range(8)
    ]
    return model, build_active_set(frames, ["Cu", "Au"])


@pytest.fixture(scope="session")
def make_fcc() -> Callable[..., Structure]:
    return fcc
