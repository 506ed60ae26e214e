"""Descriptors against calorine and a direct sum over pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.nep.basis import (
    HARMONIC_WEIGHTS,
    Q_1111_COEFFICIENT,
    harmonic_degrees,
    harmonics,
    radial_basis,
)
from nepal_flows.core.nep.descriptors import descriptors
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.structure import Structure

Factory = Callable[..., Any]


def direct_sum(model: NepModel, structure: Structure) -> np.ndarray:
    """Return radial and three-body descriptors, and q_1111, from the definition."""
    a = model.architecture
    types = a.types_of(structure.numbers)
    neighbours = neighbour_list(structure, a.largest_cutoff)
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    n_harmonics = a.l_max * (a.l_max + 2)
    q = []
    for i in range(structure.n_atoms):
        radial = np.zeros(a.n_max_radial + 1)
        s = np.zeros((n_harmonics, a.n_max_angular + 1))
        for pair in range(neighbours.offsets[i], neighbours.offsets[i + 1]):
            t1, t2 = types[i], types[neighbours.indices[pair]]
            r = np.linalg.norm(vectors[pair])
            f = np.empty(a.basis_size_radial + 1)
            cutoff = 0.5 * (a.radial_cutoffs[t1] + a.radial_cutoffs[t2])
            radial_basis(r, cutoff, f, np.empty_like(f))
            radial += model.c_radial[:, :, t1, t2] @ f
            f, b = np.empty(a.basis_size_angular + 1), np.empty(n_harmonics)
            cutoff = 0.5 * (a.angular_cutoffs[t1] + a.angular_cutoffs[t2])
            radial_basis(r, cutoff, f, np.empty_like(f))
            harmonics(*(vectors[pair] / r), a.l_max, b)
            s += np.outer(b, model.c_angular[:, :, t1, t2] @ f)
        weighted = HARMONIC_WEIGHTS[:n_harmonics, None] * s**2
        power = [
            weighted[harmonic_degrees(a.l_max) == l].sum(axis=0) for l in range(1, a.l_max + 1)
        ]
        power.append(Q_1111_COEFFICIENT * (s[:3] ** 2).sum(axis=0) ** 2)
        q.append(np.concatenate([radial, *power]))
    return np.array(q)


@pytest.mark.parametrize("l_max", [1, 3, 8])
def test_descriptors_are_the_sums_of_their_definition(
    l_max: int, random_model: Factory, random_structure: Factory
) -> None:
    model = random_model(
        elements=("O", "Si"), l_max=l_max, has_q_222=False, has_q_1111=True,
        radial_cutoffs=(5.0, 6.0), angular_cutoffs=(4.0, 3.0),
    )  # fmt: skip
    structure = random_structure((8, 14), 6, edge=5.0)
    expected = direct_sum(model, structure)
    np.testing.assert_allclose(
        descriptors(model, structure), expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max()
    )


@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, False)])
def test_scaled_descriptors_equal_those_of_calorine(
    flags: tuple[bool, bool],
    reference: Factory,
    random_model: Factory,
    random_structure: Factory,
) -> None:
    structure = random_structure((8, 14))
    model = random_model(elements=("O", "Si"), has_q_222=flags[0], has_q_1111=flags[1])
    model, expected = reference(model, structure)
    found = descriptors(model, structure) * model.q_scaler
    scale = np.abs(expected.descriptors).max(axis=0)
    assert (np.abs(found - expected.descriptors) / scale).max() < 1e-11


def test_descriptors_do_not_depend_on_the_network(
    random_model: Factory, random_structure: Factory
) -> None:
    structure, model = random_structure(), random_model()
    other = NepModel(
        model.architecture, -model.w0, 2 * model.b0, model.w1 + 1, 0.0,
        model.c_radial, model.c_angular, 3 * model.q_scaler,
    )  # fmt: skip
    np.testing.assert_array_equal(descriptors(model, structure), descriptors(other, structure))
    assert descriptors(model, structure).shape == (14, model.architecture.n_descriptors)
