r"""What a fragment kept of its parent: the proof that its label is about the parent's atom.

The centre's descriptor, and with it its grade, is the parent's by construction where the core
reaches as far as the model's cutoff; this is asserted. What can fail is the force on the centre and
its first shell, to which atoms up to twice the cutoff contribute.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.carving.distances import PairDistances, smallest_share
from nepal_flows.core.carving.environment import Environment
from nepal_flows.core.carving.fragments import Fragment
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.errors import CarvingError
from nepal_flows.typing import FloatArray, IntArray

_SHELL = 1.35
"""The first shell ends at this many times the usual distance."""
_SAME = 1e-6
"""Largest relative change of the centre's grade and descriptor that counts as none."""
_MOVED = 0.01  # Å
_NEAR = 0.85
"""Atoms farther apart than this share of their usual distance are never too near."""


@dataclass(frozen=True, eq=False)
class Fidelity:
    """A fragment beside its parent; grades and forces are the model's.

    Attributes
    ----------
    centre_grade, parent_centre_grade
        Of the centre.
    descriptor_distance
        Root mean square change of the centre's scaled descriptor.
    centre_force_change
        Norm of the change of the force on the centre, eV/Å.
    shell_force_change
        Root mean square norm of the change of the forces on the centre's first shell, eV/Å.
    parent_force_rms
        Root mean square component of the parent's forces on the centre and its shell, eV/Å.
    boundary_grade_mean, boundary_grade_max
        Of the atoms that are not core.
    parent_boundary_grade_mean, parent_boundary_grade_max
        The same atoms in the parent.
    excess_share
        Share of the boundary whose grade exceeds both 2 and its grade in the parent.
    log_excess
        Mean over all atoms of max(0, ln(grade / max(target, grade in the parent))): the score,
        smaller is better.
    smallest_distance
        Smallest distance between two atoms over the usual one of their elements.
    parent_smallest_distance
        The same in the parent.
    kept_density
        Atoms over those that the box holds in the parent.
    n_core, n_moved, n_removed
        Atoms that nothing moved, that were moved by more than 0.01 Å, that were deleted.
    largest_displacement
        Å.
    composition, parent_composition
        Atoms by chemical symbol, of the fragment and of the box in the parent.
    grades, parent_grades
        Of every atom, shape (n_atoms,).
    """

    centre_grade: float
    parent_centre_grade: float
    descriptor_distance: float
    centre_force_change: float
    shell_force_change: float
    parent_force_rms: float
    boundary_grade_mean: float
    boundary_grade_max: float
    parent_boundary_grade_mean: float
    parent_boundary_grade_max: float
    excess_share: float
    log_excess: float
    smallest_distance: float
    parent_smallest_distance: float
    kept_density: float
    n_core: int
    n_moved: int
    n_removed: int
    largest_displacement: float
    composition: dict[str, int]
    parent_composition: dict[str, int]
    grades: FloatArray
    parent_grades: FloatArray


@dataclass(frozen=True)
class Acceptance:
    """What a fragment may lose of its parent.

    Attributes
    ----------
    force_change
        Largest change of the force on the centre, and root mean square change on its first shell,
        eV/Å ...
    force_share
        ... or this share of the parent's root mean square force, whichever is larger.
    smallest_distance
        Share of the smallest distance in the parent (and at most in `PairDistances.smallest`)
        below which no two atoms may come.
    training_distance
        Smallest share of the usual distance in the training frames, if it is to count too.
    density
        Largest share of the box's atoms that may be missing.
    excess_share
        Largest share of the boundary that may be less known than in the parent; None records it
        alone, which is right while the model knows little.
    """

    force_change: float = 0.1
    force_share: float = 0.2
    smallest_distance: float = 0.95
    training_distance: float | None = None
    density: float = 0.1
    excess_share: float | None = None


def fidelity_of(
    fragment: Fragment,
    parent: Environment,
    inverses: FloatArray,
    distances: PairDistances,
    *,
    target: float = 1.0,
    box_rows: IntArray | None = None,
) -> Fidelity:
    """Return what a fragment kept.

    Parameters
    ----------
    fragment
        Ready to be labelled.
    parent
        The surroundings of its centre.
    inverses
        M of all types, shape (n_types, d, d).
    distances
        Usual distances in the parent.
    target
        Grade below which nothing is asked of an atom.
    box_rows
        Rows of the region that the box holds; by default those of the fragment.

    Raises
    ------
    CarvingError
        If the centre's environment is not the parent's although the core reaches as far as the
        model: the fragment is wrong.
    """
    model, structure = parent.model, fragment.structure
    there = parent.factors(fragment.rows)
    here = projection_factors(model, structure)
    grades, parent_grades = structure_grades(inverses, here), structure_grades(inverses, there)
    distance = float(np.sqrt(((here.y[0] - there.y[0]) ** 2).mean()))
    if fragment.core_radius >= model.architecture.largest_cutoff:
        _require_same_centre(distance, float(grades[0]), float(parent_grades[0]), there.y[0])
    shell = _first_shell(fragment, distances)
    forces = predict(model, structure).forces[shell]
    parent_forces = parent.forces(fragment.rows[shell])
    change = np.linalg.norm(forces - parent_forces, axis=1)
    boundary = ~fragment.is_core
    known = np.maximum(target, parent_grades)
    excess = np.maximum(0.0, np.log(np.maximum(grades, 1e-300) / known))
    limit = np.maximum(2.0, parent_grades)[boundary]
    box = fragment.rows if box_rows is None else box_rows
    moved = fragment.displacements
    return Fidelity(
        centre_grade=float(grades[0]),
        parent_centre_grade=float(parent_grades[0]),
        descriptor_distance=distance,
        centre_force_change=float(change[0]),
        shell_force_change=float(np.sqrt((change[1:] ** 2).mean())) if len(change) > 1 else 0.0,
        parent_force_rms=float(np.sqrt((parent_forces**2).mean())),
        boundary_grade_mean=float(grades[boundary].mean()) if boundary.any() else 0.0,
        boundary_grade_max=float(grades[boundary].max(initial=0.0)),
        parent_boundary_grade_mean=float(parent_grades[boundary].mean()) if boundary.any() else 0.0,
        parent_boundary_grade_max=float(parent_grades[boundary].max(initial=0.0)),
        excess_share=float((grades[boundary] > limit).mean()) if boundary.any() else 0.0,
        log_excess=float(excess.mean()),
        smallest_distance=smallest_share(structure, distances),
        parent_smallest_distance=distances.smallest,
        kept_density=fragment.n_atoms / len(box),
        n_core=int(fragment.is_core.sum()),
        n_moved=int((moved > _MOVED).sum()),
        n_removed=fragment.n_removed,
        largest_displacement=float(moved.max()),
        composition=_composition(structure.numbers),
        parent_composition=_composition(parent.region.numbers[box]),
        grades=grades,
        parent_grades=parent_grades,
    )


def shortcomings(fidelity: Fidelity, acceptance: Acceptance) -> tuple[str, ...]:
    """Return what speaks against a fragment, in words; nothing where it is accepted."""
    found = []
    limit = max(acceptance.force_change, acceptance.force_share * fidelity.parent_force_rms)
    for name, change in (
        ("centre", fidelity.centre_force_change),
        ("first shell", fidelity.shell_force_change),
    ):
        if not change <= limit:
            found.append(f"the force on the {name} changes by {change:.3g} eV/Å, over {limit:.3g}")
    known = (fidelity.parent_smallest_distance, acceptance.training_distance or 1.0, _NEAR)
    nearest = acceptance.smallest_distance * min(known)
    if fidelity.smallest_distance < nearest:
        found.append(
            f"two atoms come within {fidelity.smallest_distance:.2f} of their usual distance, "
            f"less than {nearest:.2f}"
        )
    if fidelity.kept_density < 1.0 - acceptance.density:
        found.append(f"{100.0 * (1.0 - fidelity.kept_density):.0f} % of the atoms were deleted")
    if acceptance.excess_share is not None and fidelity.excess_share > acceptance.excess_share:
        found.append(
            f"{100.0 * fidelity.excess_share:.0f} % of the boundary is less known than in the "
            f"parent, over {100.0 * acceptance.excess_share:.0f} %"
        )
    return tuple(found)


def _require_same_centre(
    distance: float, grade: float, parent_grade: float, descriptor: FloatArray
) -> None:
    size = float(np.sqrt((descriptor**2).mean()))
    if distance > _SAME * size or abs(grade - parent_grade) > _SAME * max(1.0, parent_grade):
        raise CarvingError(
            f"The centre's descriptor differs by {distance:.2g} from the parent's, its grade is "
            f"{grade:.6g} instead of {parent_grade:.6g}: the fragment is wrong. Please report it."
        )


def _first_shell(fragment: Fragment, distances: PairDistances) -> IntArray:
    """Return the centre and the core atoms of its first shell."""
    structure = fragment.structure
    kinds = distances.kinds(structure.numbers)
    r = np.linalg.norm(structure.positions - structure.positions[0], axis=1)
    near = (r < _SHELL * distances.usual[kinds[0], kinds]) & fragment.is_core
    near[0] = False
    return np.concatenate([[0], np.flatnonzero(near)])


def _composition(numbers: IntArray) -> dict[str, int]:
    values, counts = np.unique(numbers, return_counts=True)
    return {SYMBOLS[int(v)]: int(c) for v, c in zip(values, counts, strict=True)}


def summary_numbers(fidelity: Fidelity) -> Mapping[str, float]:
    """Return the scalars of a fidelity by name."""
    return {
        name: float(value)
        for name, value in vars(fidelity).items()
        if isinstance(value, (int, float))
    }


__all__ = ["Acceptance", "Fidelity", "fidelity_of", "shortcomings", "summary_numbers"]
