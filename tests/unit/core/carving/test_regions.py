"""Neighbourhoods in large parents against a search over all images."""

import itertools

import numpy as np
import pytest

from nepal_flows.core.carving.centres import grades_in_blocks, greedy_centres
from nepal_flows.core.carving.regions import AtomBins, open_cluster
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CarvingError


def scattered(pbc: tuple[bool, bool, bool], seed: int = 0) -> Structure:
    """Atoms in a skewed cell, some of them outside of it and some on its faces."""
    rng = np.random.default_rng(seed)
    cell = np.array([[14.0, 0.0, 0.0], [5.0, 11.0, 0.0], [-3.0, 2.0, 17.0]])
    fractions = rng.uniform(-0.6, 1.6, (200, 3))
    fractions[:20] = np.round(fractions[:20])
    return Structure(rng.integers(1, 4, 200), fractions @ cell, cell, pbc)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False,) * 3])
def test_region_holds_what_a_search_over_all_images_finds(pbc) -> None:
    structure = scattered(pbc)
    centre, half = 77, 12.3
    region = AtomBins(structure).region(centre, half)
    heights = region.thicknesses
    inverse = np.linalg.inv(structure.cell)
    expected = []
    ranges = [range(-4, 5) if periodic else (0,) for periodic in pbc]
    for shift in itertools.product(*ranges):
        vectors = structure.positions + shift @ structure.cell - structure.positions[centre]
        depth = (vectors @ inverse) * heights
        inside = ((depth >= -half) & (depth < half)).all(axis=1)
        expected += [(int(a), *np.round(vectors[a], 6)) for a in np.flatnonzero(inside)]
    found = [
        (int(a), *np.round(v, 6)) for a, v in zip(region.parents, region.positions, strict=True)
    ]
    assert sorted(found) == sorted(expected)
    assert region.parents[0] == centre
    assert np.linalg.norm(region.positions[0]) == 0.0


def test_blocks_hold_every_atom_once_and_give_the_grades_of_the_whole(
    copper_model, copper_inverses, void_parent, monkeypatch
) -> None:
    whole = structure_grades(copper_inverses, projection_factors(copper_model, void_parent))
    monkeypatch.setattr("nepal_flows.core.carving.centres._SMALL", 0)
    monkeypatch.setattr("nepal_flows.core.carving.centres._BLOCK_WIDTH", 9.0)
    bins = AtomBins(void_parent)
    atoms = np.concatenate([own for _, own in bins.blocks(9.0, 5.0)])
    assert sorted(atoms.tolist()) == list(range(void_parent.n_atoms))
    blockwise = grades_in_blocks(bins, copper_model, copper_inverses)
    np.testing.assert_allclose(blockwise, whole, rtol=1e-8)


def test_centres_are_the_worst_atoms_apart_from_each_other() -> None:
    structure = scattered((True, True, True), seed=2)
    rng = np.random.default_rng(0)
    grades = rng.uniform(0.0, 20.0, structure.n_atoms)
    bins = AtomBins(structure, grades)
    centres = greedy_centres(bins, grades, threshold=5.0, exclusion=4.0, max_centres=1000)
    assert centres[0] == grades.argmax()
    assert (np.diff(grades[centres]) <= 0.0).all()
    near = {int(c): bins.region(int(c), 4.0) for c in centres}
    covered = set()
    for region in near.values():
        ball = np.linalg.norm(region.positions, axis=1) < 4.0
        assert set(region.parents[ball].tolist()) & set(centres.tolist()) == {
            int(region.parents[0])
        }
        covered |= set(region.parents[ball].tolist())
    assert set(np.flatnonzero(grades >= 5.0).tolist()) <= covered


def test_grades_with_nan_are_refused() -> None:
    structure = scattered((True, True, True))
    with pytest.raises(CarvingError, match="finite number"):
        greedy_centres(
            AtomBins(structure), np.full(200, np.nan), threshold=5.0, exclusion=4.0, max_centres=3
        )


def test_cluster_of_a_region_has_no_images(void_parent) -> None:
    region = AtomBins(void_parent).region(5, 8.0)
    cluster = open_cluster(region)
    assert cluster.pbc == (False, False, False)
    assert cluster.n_atoms == region.n_atoms
