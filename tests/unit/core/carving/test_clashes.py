"""Clashes: pushed, or deleted where they must be; compositions and molecules kept."""

import dataclasses

import numpy as np
import pytest

from nepal_flows.core.carving.boxes import Box, centred_box
from nepal_flows.core.carving.clashes import (
    Composition,
    molecules_of,
    pushed_apart,
    soft_repulsion,
    with_composition,
    without_clashes,
)
from nepal_flows.core.carving.distances import pair_distances, smallest_share
from nepal_flows.core.carving.fragments import Fragment, cut_fragment
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError

CORE = 4.0


def cut(structure: Structure, length: float, centre: int = 300) -> Fragment:
    region = AtomBins(structure).region(centre, 14.0)
    return cut_fragment(region, centred_box(region, length), CORE)


def rock_salt(n: int = 6) -> Structure:
    """Sodium chloride, a = 5.64 Å."""
    cells = np.array(list(np.ndindex(n, n, n)))
    sodium = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    basis = np.concatenate([sodium, sodium + np.array([0.5, 0, 0])])
    positions = 5.64 * (cells[:, None] + basis).reshape(-1, 3)
    rng = np.random.default_rng(0)
    return Structure(
        np.tile([11] * 4 + [17] * 4, len(cells)),
        positions + 0.05 * rng.standard_normal(positions.shape),
        5.64 * n * np.eye(3),
    )


def water(n: int = 6) -> Structure:
    """Molecules on a lattice of 3.1 Å, each turned at random."""
    rng = np.random.default_rng(1)
    positions, numbers = [], []
    for place in np.ndindex(n, n, n):
        turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        legs = np.array([[0.0, 0.0, 0.0], [0.76, 0.59, 0.0], [-0.76, 0.59, 0.0]]) @ turn
        positions.append(3.1 * np.array(place) + legs)
        numbers += [8, 1, 1]
    return Structure(np.array(numbers), np.concatenate(positions), 3.1 * n * np.eye(3))


BONDS = {(1, 8): 1.2}


def test_no_overlap_is_left_and_the_core_is_untouched(void_parent) -> None:
    distances = pair_distances(void_parent)
    fragment = cut(void_parent, 11.9)
    cleared = without_clashes(fragment, distances, delete_below=0.7)
    assert cleared.n_removed > 0
    assert smallest_share(cleared.structure, distances) >= 0.7
    assert cleared.is_core.sum() == fragment.is_core.sum()
    again = without_clashes(cleared, distances, delete_below=0.7)
    assert again.n_atoms == cleared.n_atoms


def test_close_pairs_of_the_parent_itself_are_not_deleted(make_fcc) -> None:
    crystal = make_fcc((6, 6, 6), rattle=0.05)
    positions = crystal.positions.copy()
    # two neighbours on their way through each other, next to the centre
    region = AtomBins(crystal).region(300, 14.0)
    a, b = region.parents[0], region.parents[1]
    positions[b] = positions[a] + 0.55 * region.positions[1]
    closer = Structure(crystal.numbers, positions, crystal.cell)
    size = np.full(3, 4 / 6)
    box = Box(-0.5 * size - 0.25 / 6, size, np.zeros(3, dtype=bool))
    fragment = cut_fragment(AtomBins(closer).region(300, 14.0), box, CORE)
    cleared = without_clashes(fragment, pair_distances(crystal), delete_below=0.7)
    assert cleared.n_removed == 0


def test_push_parts_what_is_close_and_keeps_out_of_the_core(void_parent) -> None:
    distances = pair_distances(void_parent)
    cleared = without_clashes(cut(void_parent, 12.9), distances, delete_below=0.7)
    pushed = pushed_apart(cleared, distances, target=0.88)
    assert smallest_share(pushed.structure, distances) > smallest_share(
        cleared.structure, distances
    )
    moved = pushed.displacements > 0.0
    assert moved.any()
    assert not moved[pushed.is_core].any()
    away = np.linalg.norm(pushed.structure.positions - pushed.structure.positions[0], axis=1)
    assert (away[~pushed.is_core] >= CORE).all()


def test_repulsion_has_the_gradient_of_central_differences(make_fcc) -> None:
    structure = make_fcc((2, 2, 2), rattle=0.3, numbers=(29, 79))
    distances = pair_distances(make_fcc((3, 3, 3), rattle=0.05, numbers=(29, 79)))
    _, gradient = soft_repulsion(structure, structure.positions, distances, target=0.95)
    assert np.abs(gradient).max() > 0.0
    for atom, axis in [(0, 0), (11, 2), (20, 1)]:
        values = []
        for sign in (1.0, -1.0):
            positions = structure.positions.copy()
            positions[atom, axis] += sign * 1e-6
            values.append(soft_repulsion(structure, positions, distances, target=0.95)[0])
        slope = (values[0] - values[1]) / 2e-6
        assert gradient[atom, axis] == pytest.approx(slope, rel=1e-5, abs=1e-8)


def test_formula_and_neutrality_are_restored(make_fcc) -> None:
    salt = rock_salt()
    distances = pair_distances(salt)
    fragment = without_clashes(cut(salt, 12.9), distances)
    counts = np.bincount(fragment.structure.numbers, minlength=18)
    assert counts[11] != counts[17]  # or there is nothing to restore
    for composition in (Composition(formula={11: 1, 17: 1}), Composition(charges={11: 1, 17: -1})):
        kept = with_composition(fragment, distances, composition)
        counts = np.bincount(kept.structure.numbers, minlength=18)
        assert counts[11] == counts[17]
        assert kept.is_core.sum() == fragment.is_core.sum()


def test_core_that_no_formula_can_hold_is_refused() -> None:
    salt = rock_salt()
    distances = pair_distances(salt)
    fragment = cut(salt, 12.9)
    numbers = fragment.structure.numbers
    counts = np.bincount(numbers[fragment.is_core], minlength=18)
    rare = 11 if counts[11] < counts[17] else 17
    poor = fragment.without(np.flatnonzero((numbers == rare) & ~fragment.is_core))
    with pytest.raises(CarvingError, match="formula units"):
        with_composition(poor, distances, Composition(formula={11: 1, 17: 1}))
    with pytest.raises(CarvingError, match="no charge of Cl"):
        with_composition(fragment, distances, Composition(charges={11: 1}))
    with pytest.raises(CarvingError, match="not in the formula"):
        with_composition(fragment, distances, Composition(formula={11: 1}))


def test_molecules_are_cut_deleted_and_counted_as_a_whole() -> None:
    liquid = water()
    region = AtomBins(liquid).region(3 * 100, 13.0)
    from nepal_flows.core.carving.regions import open_cluster

    cluster = open_cluster(region)
    molecules = molecules_of(cluster, BONDS)
    inner = np.flatnonzero((np.abs(region.positions) < 8.0).all(axis=1))
    distances = pair_distances(cluster, inner, molecules)
    assert distances.usual.min() > 1.2  # distances within molecules do not count
    box = Box(np.full(3, -0.5 * 11.3 / 18.6), np.full(3, 11.3 / 18.6), np.zeros(3, dtype=bool))
    fragment = cut_fragment(region, box, CORE, molecules=molecules)
    cleared = without_clashes(fragment, distances, molecules=molecules)
    for part in (fragment, cleared):
        _, counts = np.unique(molecules[part.rows], return_counts=True)
        assert (counts == 3).all()
        per_molecule = np.unique(np.stack([molecules[part.rows], part.is_core], axis=1), axis=0)
        assert len(per_molecule) == len(counts)  # the core holds whole molecules
    bonded = molecules_of(cleared.structure, BONDS)
    assert (np.unique(bonded, return_counts=True)[1] == 3).all()


def test_contradicting_demands_are_refused() -> None:
    with pytest.raises(CarvingError, match="not both"):
        Composition(formula={11: 1}, charges={11: 1.0})
    with pytest.raises(CarvingError, match="positive"):
        Composition(formula={11: 0})


def test_overlap_of_core_atoms_asks_for_a_larger_box(make_fcc) -> None:
    crystal = make_fcc((5, 5, 5))
    fragment = cut(crystal, 11.0)
    squeezed = dataclasses.replace(fragment, is_core=np.ones(fragment.n_atoms, dtype=bool))
    with pytest.raises(CarvingError, match="larger box"):
        without_clashes(squeezed, pair_distances(crystal))
