"""Boxes: registry where there is a lattice, short directions whole, faces away from the core."""

import numpy as np
import pytest

from nepal_flows.core.carving.boxes import centred_box, searched_box, smallest_length
from nepal_flows.core.carving.distances import lattice_repeats, pair_distances
from nepal_flows.core.carving.fragments import cut_fragment, nearest_vectors, with_vacuum
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError

EDGE = 3.62
CORE = 4.0


def search(structure: Structure, centre: int, max_atoms: int = 400):
    distances = pair_distances(structure)
    length = smallest_length(CORE, distances)
    region = AtomBins(structure).region(centre, 17.0)
    box = searched_box(region, distances, core_radius=CORE, length=length, max_atoms=max_atoms)
    return region, distances, length, box


def test_usual_distance_of_a_hot_crystal_is_its_lattice_constant_over_root_two(make_fcc) -> None:
    distances = pair_distances(make_fcc((4, 4, 4), rattle=0.1))
    assert distances.usual[0, 0] == pytest.approx(EDGE / np.sqrt(2.0), rel=0.03)
    assert 0.6 < distances.smallest < 0.95


def test_rare_pairs_are_expected_no_farther_than_common_ones(make_fcc) -> None:
    crystal = make_fcc((4, 4, 4))
    numbers = crystal.numbers.copy()
    numbers[[0, 128]] = 79
    distances = pair_distances(Structure(numbers, crystal.positions, crystal.cell))
    assert distances.usual[1, 1] == pytest.approx(1.15 * EDGE / np.sqrt(2.0), rel=0.01)


def test_repeats_of_a_crystal_are_found_and_those_of_a_gas_are_not(make_fcc) -> None:
    hot = make_fcc((7, 7, 7), rattle=0.1)
    region = AtomBins(hot).region(600, 15.0)
    for repeat in lattice_repeats(region, pair_distances(hot)):
        assert repeat == pytest.approx(EDGE, abs=0.15)
    rng = np.random.default_rng(0)
    gas = Structure(hot.numbers, rng.uniform(size=hot.positions.shape) @ hot.cell, hot.cell)
    region = AtomBins(gas).region(600, 15.0)
    assert lattice_repeats(region, pair_distances(hot)) == (None, None, None)


@pytest.mark.parametrize(
    "transform",
    [np.eye(3), np.array([[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1.0]])],
    ids=["cubic", "skewed"],
)
def test_box_of_a_crystal_is_a_whole_number_of_repeats(make_fcc, transform) -> None:
    repeats = (8, 8, 8)
    crystal = make_fcc(repeats, rattle=0.02, transform=None)
    if not np.allclose(transform, np.eye(3)):
        # the same crystal in a skewed cell: 8 x 16 x 8 of vectors [100], [1/2 1/2 0], [001]
        cell = np.array([[8, 0, 0], [8, 8, 0], [0, 0, 8]]) * EDGE
        crystal = Structure(crystal.numbers, crystal.positions, cell)
    region, _, _, box = search(crystal, 700)
    vectors = box.cell(region.cell)
    unit = EDGE * np.array([1.0, 1.0 if np.allclose(transform, np.eye(3)) else 1 / np.sqrt(2), 1])
    repeats_found = np.linalg.norm(vectors, axis=1) / unit
    np.testing.assert_allclose(repeats_found, np.round(repeats_found), atol=0.03)
    fragment = cut_fragment(region, box, CORE)
    assert fragment.n_atoms == round(abs(np.linalg.det(vectors)) / (EDGE**3 / 4))
    assert box.mismatch < 0.05


def test_box_does_not_depend_on_translation_order_or_rotation(void_parent) -> None:
    rng = np.random.default_rng(0)
    _, _, _, box = search(void_parent, 640)
    order = rng.permutation(void_parent.n_atoms)
    rotation, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    moved = Structure(
        void_parent.numbers,
        ((void_parent.positions + np.array([31.0, -4.0, 0.2])) @ rotation)[order],
        void_parent.cell @ rotation,
    )
    _, _, _, other = search(moved, int(np.flatnonzero(order == 640)[0]))
    np.testing.assert_allclose(other.lengths, box.lengths, atol=1e-9)
    np.testing.assert_allclose(other.low, box.low, atol=1e-9)


def test_faces_stay_away_from_the_core(void_parent) -> None:
    region, _, length, box = search(void_parent, 640)
    heights = region.thicknesses
    assert (-box.low * heights >= CORE).all()
    assert ((box.low + box.lengths) * heights >= CORE).all()
    assert (box.lengths * heights >= length - 1e-9).all()


def test_short_directions_are_kept_whole(make_fcc) -> None:
    wire = make_fcc((7, 7, 2), rattle=0.05)
    region, _, _, box = search(wire, 100)
    assert box.whole.tolist() == [False, False, True]
    np.testing.assert_allclose(box.cell(region.cell)[2], wire.cell[2])
    fragment = cut_fragment(region, box, CORE)
    assert len(np.unique(fragment.parents)) == fragment.n_atoms
    # every image of a core atom is fixed, so the atom is
    assert fragment.is_core[np.linalg.norm(nearest_vectors(fragment), axis=1) < CORE].all()


def test_parent_no_larger_than_the_box_is_refused(make_fcc) -> None:
    small = make_fcc((2, 2, 2))
    region = AtomBins(small).region(0, 10.0)
    with pytest.raises(CarvingError, match="Label the parent itself"):
        centred_box(region, 10.3)


def test_vacuum_above_a_surface_is_extended_and_nothing_else_moves(make_fcc) -> None:
    slab = make_fcc((6, 6, 5), rattle=0.05)
    cell = slab.cell.copy()
    cell[2, 2] += 12.0
    slab = Structure(slab.numbers, slab.positions, cell)
    top = int(slab.positions[:, 2].argmax())
    region, _, _, box = search(slab, top)
    fragment = cut_fragment(region, box, CORE)
    widened = with_vacuum(fragment, 10.0, 4.0)
    assert widened.vacuum[2] > 0.0
    assert not widened.vacuum[:2].any()
    depth = np.sort(widened.structure.positions[:, 2])
    gaps = np.append(np.diff(depth), depth[0] + widened.structure.cell[2, 2] - depth[-1])
    assert gaps.max() == pytest.approx(10.0)
    np.testing.assert_allclose(
        nearest_vectors(widened)[widened.is_core],
        nearest_vectors(fragment)[fragment.is_core],
        atol=1e-9,
    )
    assert widened.displacements.max() < 1e-12


def test_bulk_has_no_vacuum_to_extend(void_parent) -> None:
    region, _, _, box = search(void_parent, 10)
    fragment = cut_fragment(region, box, CORE)
    assert with_vacuum(fragment, 10.0, 4.5) is fragment
