"""Which atoms are carved around: the worst, apart from each other, and not twice the same.

Within a frame, centres are taken greedily by grade, each excluding its neighbourhood. Among the
centres of all frames the worst is taken, its surroundings join the active set, and the others are
graded again: of twenty dislocation cores in twenty frames, few are left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.maxvol import improve
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import (
    ProjectionFactors,
    dense_projections,
    projection_factors,
)
from nepal_flows.errors import CarvingError
from nepal_flows.typing import BoolArray, FloatArray, IntArray

_TOLERANCE = 1.001
_BLOCK_WIDTH = 30.0  # Å
_SMALL = 20_000
"""Structures with fewer atoms are graded at once."""


def greedy_centres(
    parent: AtomBins,
    grades: FloatArray,
    *,
    threshold: float,
    exclusion: float,
    max_centres: int,
    ceiling: float = np.inf,
) -> IntArray:
    """Return the atoms with the largest grades that lie apart from each other, worst first.

    Parameters
    ----------
    parent
        The structure.
    grades
        Of its atoms, shape (n_atoms,).
    threshold
        Atoms below it are known.
    exclusion
        Least distance between two centres, Å.
    max_centres
        Most centres of this structure.
    ceiling
        Atoms above it are passed over.

    Raises
    ------
    CarvingError
        If the grades are not one number per atom.
    """
    if grades.shape != (parent.structure.n_atoms,) or not np.isfinite(grades).all():
        raise CarvingError(
            f"`grades` has shape {grades.shape} or holds NaN; expected a finite number for each of "
            f"the {parent.structure.n_atoms} atoms. Grade the structure again."
        )
    open_atoms = np.flatnonzero((grades >= threshold) & (grades <= ceiling))
    ranked = open_atoms[np.argsort(-grades[open_atoms], kind="stable")]
    is_free: BoolArray = np.ones(len(grades), dtype=np.bool_)
    centres: list[int] = []
    for atom in ranked:
        if len(centres) == max_centres:
            break
        if is_free[atom]:
            centres.append(int(atom))
            region = parent.region(int(atom), exclusion)
            near = np.einsum("ia,ia->i", region.positions, region.positions) < exclusion**2
            is_free[region.parents[near]] = False
    return np.array(centres, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class CentreChoice:
    """Which of many centres are carved.

    Attributes
    ----------
    chosen
        Their numbers, in the order of choice.
    grades_when_chosen
        Grade of every chosen centre when its turn came, shape (n_chosen,).
    remaining
        Present grade of every centre, shape (n_centres,): below the threshold are those that the
        chosen ones cover.
    """

    chosen: tuple[int, ...]
    grades_when_chosen: FloatArray
    remaining: FloatArray


def regraded_centres(
    surroundings: Sequence[ProjectionFactors],
    inverses: FloatArray,
    *,
    budget: int,
    threshold: float,
) -> CentreChoice:
    """Return the centres that teach most, each graded with the surroundings of those before.

    Parameters
    ----------
    surroundings
        For every centre the factors of the atoms whose environments a fragment keeps, the centre
        first.
    inverses
        M of all types, shape (n_types, d, d).
    budget
        Most centres.
    threshold
        Centres are taken while the largest grade is at least this.
    """
    n = len(surroundings)
    if n == 0:
        return CentreChoice((), np.zeros(0), np.zeros(0))
    owners = np.concatenate([np.full(own.n_atoms, k) for k, own in enumerate(surroundings)]).astype(
        np.int64
    )
    starts = np.concatenate([[0], np.cumsum([own.n_atoms for own in surroundings])])[:n]
    types = np.concatenate([own.types for own in surroundings])
    grades = np.zeros(len(types))
    elements = []
    for kind in np.unique(types):
        rows = np.flatnonzero(types == kind)
        parts = [dense_projections(own, np.flatnonzero(own.types == kind)) for own in surroundings]
        products = np.ascontiguousarray(np.concatenate(parts) @ inverses[kind])
        own_grades = np.abs(products).max(axis=1)
        grades[rows] = own_grades
        holders = np.full(products.shape[1], -1, dtype=np.int64)
        elements.append((rows, products, holders, own_grades))
    chosen: list[int] = []
    when: list[float] = []
    while len(chosen) < budget:
        present = grades[starts].copy()
        present[chosen] = -1.0
        best = int(present.argmax())
        if present[best] < threshold:
            break
        chosen.append(best)
        when.append(float(present[best]))
        for rows, products, holders, own_grades in elements:
            eligible = np.isin(owners[rows], chosen)
            improve(products, holders, tolerance=_TOLERANCE, eligible=eligible, grades=own_grades)
            grades[rows] = own_grades
    return CentreChoice(tuple(chosen), np.array(when), grades[starts])


def grades_in_blocks(parent: AtomBins, model: NepModel, inverses: FloatArray) -> FloatArray:
    """Return the grade of every atom of a large structure, block by block.

    The memory needed does not grow with the structure; grades are those of the whole.

    Parameters
    ----------
    parent
        The structure.
    model
        The potential.
    inverses
        M of all types, shape (n_types, d, d).
    """
    structure = parent.structure
    if structure.n_atoms < _SMALL:
        return structure_grades(inverses, projection_factors(model, structure))
    grades = np.full(structure.n_atoms, np.nan)
    for region, atoms in parent.blocks(_BLOCK_WIDTH, model.architecture.largest_cutoff):
        factors = projection_factors(model, region)
        inner = np.arange(len(atoms))
        own = ProjectionFactors(
            factors.types[inner], factors.y[inner], factors.v[inner], factors.t[inner]
        )
        grades[atoms] = structure_grades(inverses, own)
    return grades


__all__ = ["CentreChoice", "grades_in_blocks", "greedy_centres", "regraded_centres"]
