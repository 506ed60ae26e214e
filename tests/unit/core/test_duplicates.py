import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nepal_flows.core.duplicates import (
    KnownFrames,
    frame_distance,
    frame_signature,
)
from nepal_flows.core.structure import Structure


def test_distance_ignores_the_order_of_atoms(make_network, rng) -> None:
    network = make_network(n_types=2)
    frame = network.frame(rng, 12)
    order = rng.permutation(12)
    shuffled = network.factors(frame.types[order], frame.y[order])
    assert frame_distance(frame, shuffled) == pytest.approx(0.0, abs=1e-12)


def test_distance_is_the_root_mean_square_shift(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 6)
    moved = network.factors(frame.types, frame.y + 1e-3)
    assert frame_distance(frame, moved) == pytest.approx(1e-3)


def test_signatures_bound_the_distance_from_below(make_network, rng) -> None:
    network = make_network(n_types=2)
    types = np.array([0, 0, 1, 1, 1, 0])
    for _ in range(50):
        first, second = (network.factors(types, rng.standard_normal((6, 5))) for _ in range(2))
        bound = np.linalg.norm(frame_signature(first) - frame_signature(second))
        assert bound <= frame_distance(first, second) + 1e-12


def test_frames_of_another_composition_are_no_duplicates(make_network, rng) -> None:
    network = make_network(n_types=2)
    y = network.descriptors(rng, 4, 0.5)
    first, second = network.factors(np.zeros(4), y), network.factors(np.array([0, 0, 0, 1]), y)
    assert frame_distance(first, second) == np.inf
    known = KnownFrames([first])
    assert known.near_duplicate(second, 10.0) is None


def test_the_nearest_of_several_is_named(make_network, rng) -> None:
    network = make_network()
    frame = network.frame(rng, 6)
    known = KnownFrames([network.factors(frame.types, frame.y + s) for s in (0.1, 0.002, 0.004)])
    known.add(network.frame(rng, 7))
    found = known.near_duplicate(frame, 0.01)
    assert found is not None
    assert found.index == 1
    assert found.distance == pytest.approx(0.002)
    assert known.near_duplicate(frame, 0.001) is None


def test_rotated_and_translated_copies_are_found_by_their_descriptors(copper_model) -> None:
    from nepal_flows.core.nep.projections import projection_factors

    rng = np.random.default_rng(1)
    cell, positions = 7.2 * np.eye(3), 7.2 * rng.random((8, 3))
    turn = Rotation.from_rotvec([0.3, -0.5, 1.0]).as_matrix()
    first = Structure(np.full(8, 29), positions, cell)
    second = Structure(np.full(8, 29), (positions + np.array([1.0, 2.0, 3.0])) @ turn, cell @ turn)
    factors = [projection_factors(copper_model, structure) for structure in (first, second)]
    assert frame_distance(*factors) < 1e-10
