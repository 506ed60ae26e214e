"""Sums over neighbours against brute force."""

from collections.abc import Callable

import numpy as np
import pytest

from nepal_flows.core.nep.basis import harmonics, radial_basis
from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.features import build_features
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError, StructureError


def architecture(**changes: object) -> NepArchitecture:
    fields = {
        "elements": ("Cu", "Au"),
        "radial_cutoffs": (4.5, 4.0),
        "angular_cutoffs": (3.0, 3.5),
        "n_max_radial": 1,
        "n_max_angular": 1,
        "basis_size_radial": 4,
        "basis_size_angular": 3,
        "l_max": 3,
        "has_q_222": False,
        "has_q_1111": False,
        "n_neurons": 2,
    }
    return NepArchitecture(**(fields | changes))  # type: ignore[arg-type]


def images(structure: Structure, atom: int, cutoff: float) -> list[tuple[int, np.ndarray]]:
    """Return neighbours and vectors within a cutoff, by trying every image."""
    n = int(np.ceil(cutoff / np.linalg.svd(structure.cell)[1].min())) + 1
    found = []
    for shift in np.ndindex(2 * n + 1, 2 * n + 1, 2 * n + 1):
        translation = (np.array(shift) - n) @ structure.cell
        for j, position in enumerate(structure.positions):
            vector = position + translation - structure.positions[atom]
            if 1e-8 < np.linalg.norm(vector) < cutoff:
                found.append((j, vector))
    return found


def test_sums_are_those_over_all_images(random_structure: Callable[..., Structure]) -> None:
    a = architecture()
    structures = [random_structure((29, 79), n_atoms, seed=n_atoms, edge=4.0) for n_atoms in (4, 1)]
    features = build_features(structures, a)
    radial, angular = np.zeros(5), np.zeros(4)
    slopes, b = np.zeros(5), np.zeros(15)
    structure = structures[0]
    types = a.types_of(structure.numbers)
    atom = 2
    expected_radial, expected_angular = np.zeros((2, 5)), np.zeros((2, 4, 15))
    for j, vector in images(structure, atom, 4.5):
        r = float(np.linalg.norm(vector))
        pair = [types[atom], types[j]]
        radial_basis(r, np.mean(np.array(a.radial_cutoffs)[pair]), radial, slopes)
        radial_basis(r, np.mean(np.array(a.angular_cutoffs)[pair]), angular, slopes[:4])
        harmonics(*(vector / r), 3, b)
        expected_radial[types[j]] += radial
        expected_angular[types[j]] += np.outer(angular, b)
    slots = range(features.slot_start[atom], features.slot_start[atom + 1])
    sums = features.angular_sums.reshape(-1, 4, 16)
    for slot in slots:
        t = features.slot_type[slot]
        assert np.allclose(features.radial_sums.reshape(-1, 5)[slot], expected_radial[t])
        assert np.allclose(sums[slot, :, :15], expected_angular[t], atol=1e-12)
        assert not sums[slot, :, 15].any()
    assert sorted(features.slot_type[list(slots)]) == sorted(set(features.slot_type[list(slots)]))


def test_neighbours_are_counted_separately(random_structure: Callable[..., Structure]) -> None:
    a = architecture(elements=("Cu",), radial_cutoffs=(4.5,), angular_cutoffs=(3.2,))
    structure = random_structure(n_atoms=6, edge=4.5)
    features = build_features([structure], a)
    assert features.max_neighbours == (
        max(len(images(structure, i, 4.5)) for i in range(6)),
        max(len(images(structure, i, 3.2)) for i in range(6)),
    )


def test_several_structures_are_their_parts_in_order(
    random_structure: Callable[..., Structure],
) -> None:
    structures = [random_structure((29, 79), 5, seed=seed) for seed in range(3)]
    joined = build_features(structures, architecture())
    parts = [build_features([structure], architecture()) for structure in structures]
    for name in ("radial_sums", "angular_sums", "radial_pairs", "neighbours", "slot_type"):
        together = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(joined, name), together)
    assert joined.atom_start.tolist() == [0, 5, 10, 15]
    assert joined.radial_start[-1] == sum(part.radial_start[-1] for part in parts)


def test_single_precision_takes_half_the_memory(
    random_structure: Callable[..., Structure],
) -> None:
    structure = [random_structure((29, 79), 8)]
    double = build_features(structure, architecture())
    single = build_features(structure, architecture(), dtype=np.float32)
    assert single.radial_pairs.dtype == np.float32
    assert single.n_bytes < 0.65 * double.n_bytes


def test_coinciding_atoms_are_refused() -> None:
    structure = Structure(np.array([29, 29]), np.zeros((2, 3)), 4.0 * np.eye(3))
    with pytest.raises(StructureError, match="Structure 1 has two atoms"):
        build_features(
            [Structure(np.array([29]), np.zeros((1, 3)), 4.0 * np.eye(3)), structure],
            architecture(),
        )


def test_nothing_and_strangers_are_refused(random_structure: Callable[..., Structure]) -> None:
    with pytest.raises(ModelError, match="no structure"):
        build_features([], architecture())
    with pytest.raises(ModelError, match="Si"):
        build_features([random_structure((14,), 3)], architecture())
