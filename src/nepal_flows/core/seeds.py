"""Starting structures: cells of a chosen size and shape, strained, rattled, mixed, with vacancies.

Every random choice comes from the generator that is passed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.lattices import (
    LARGEST_INDEX,
    compact_matrix,
    cubic_matrix,
    random_matrix,
    supercell,
)
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.errors import StructureError
from nepal_flows.typing import FloatArray, IntArray

CellShape = Literal["supercell", "folded", "hnf"]


@dataclass(frozen=True)
class Size:
    """How large a cell to cut, and of which shape.

    Attributes
    ----------
    n_atoms
        Atoms to aim at, or a range (smallest, largest) to draw from; None for the cell as it is.
    repeats
        Repeats along the structure's own cell vectors; they take the place of ``n_atoms``.
    shape
        "supercell" (most cube-like), "folded" (diagonal, repeats that divide ``grid``) or "hnf"
        (random).
    grid
        k-point grid of the primitive cell that folded repeats divide.
    """

    n_atoms: int | tuple[int, int] | None = None
    repeats: tuple[int, int, int] | None = None
    shape: CellShape = "supercell"
    grid: tuple[int, int, int] = (4, 4, 4)


@dataclass(frozen=True)
class Mixture:
    """How the sites of an alloy are filled.

    Attributes
    ----------
    numbers
        Atomic numbers that take turns on the sites of each other.
    fractions
        Their shares; None draws a composition, uniformly among all.
    atomic_volumes
        Volume per atom of each element, Å^3; the cell scales with the composition's mean.
    """

    numbers: tuple[int, ...]
    fractions: tuple[float, ...] | None
    atomic_volumes: Mapping[int, float]


@dataclass(frozen=True)
class Recipe:
    """How a starting structure is made from a given one.

    Attributes
    ----------
    size
        The cell.
    volume_factor
        Volume over that of the given structure.
    volume_strain
        Half-width of a uniform, random relative change of volume.
    shear_strain
        Standard deviation of every strain component; volume is kept.
    rattle
        Standard deviation of the displacements, Å.
    n_vacancies
        Atoms removed.
    vacancy_probability
        Chance that one further atom is removed, in cells of eight atoms or more.
    mixture
        Random occupation, or None.
    min_distances
        Smallest allowed distance by pair of atomic numbers (smaller first), Å; displacements that
        break it are drawn again.
    """

    size: Size
    volume_factor: float = 1.0
    volume_strain: float = 0.0
    shear_strain: float = 0.0
    rattle: float = 0.0
    n_vacancies: int = 0
    vacancy_probability: float = 0.0
    mixture: Mixture | None = None
    min_distances: Mapping[tuple[int, int], float] | None = None


def sized_cell(structure: Structure, size: Size, rng: np.random.Generator) -> Structure:
    """Return the supercell that a size asks for.

    With ``n_atoms`` the structure is first reduced to its primitive cell, and the whole number of
    cells that comes nearest is taken, at least one (of more than 512, one near it).

    Raises
    ------
    StructureError
        If no whole number of cells lies in the range asked for.
    """
    if size.repeats is not None:
        return supercell(structure, np.array(size.repeats))
    if size.n_atoms is None:
        return structure
    unit = primitive_cell(structure)
    if not all(unit.pbc):
        return supercell(unit, _diagonal_repeats(unit, _draw_n_cells(unit, size.n_atoms, rng)))
    if size.shape == "folded":
        return supercell(unit, _folded_repeats(unit, size.n_atoms, size.grid, rng))
    n_cells = _draw_n_cells(unit, size.n_atoms, rng)
    if size.shape == "hnf":
        return supercell(unit, random_matrix(unit.cell, n_cells, rng))
    if n_cells > LARGEST_INDEX:
        return supercell(unit, cubic_matrix(unit.cell, n_cells))
    return supercell(unit, compact_matrix(unit.cell, n_cells))


def _draw_n_cells(unit: Structure, n_atoms: int | tuple[int, int], rng: np.random.Generator) -> int:
    if isinstance(n_atoms, int):
        return max(1, round(n_atoms / unit.n_atoms))
    smallest = max(1, -(-n_atoms[0] // unit.n_atoms))
    largest = n_atoms[1] // unit.n_atoms
    if smallest > largest:
        raise StructureError(
            f"No whole number of unit cells of {unit.n_atoms} atoms has {n_atoms[0]} to "
            f"{n_atoms[1]} atoms. Widen the range to hold a multiple of {unit.n_atoms}."
        )
    return int(rng.integers(smallest, largest + 1))


def _folded_repeats(
    unit: Structure,
    n_atoms: int | tuple[int, int],
    grid: tuple[int, int, int],
    rng: np.random.Generator,
) -> IntArray:
    """Draw from the stubby cells of the size; a size that makes none gives way to one near it."""
    divisors = ([d for d in range(1, n + 1) if n % d == 0] for n in grid)
    choices = np.array(list(product(*divisors)))
    sizes = choices.prod(axis=1) * unit.n_atoms
    longest = np.linalg.norm(choices[:, :, None] * unit.cell, axis=2).max(axis=1)
    if isinstance(n_atoms, int):
        miss = np.abs(sizes - n_atoms)
        near = miss <= max(0.2 * n_atoms, miss.min())
        target = sizes[np.where(near, longest / np.cbrt(sizes), np.inf).argmin()]
    else:
        allowed = np.unique(sizes[(sizes >= n_atoms[0]) & (sizes <= n_atoms[1])])
        if len(allowed) == 0:
            raise StructureError(
                f"No folded multiple of {unit.n_atoms} atoms has {n_atoms[0]} to {n_atoms[1]} "
                f"atoms; with the k-grid {list(grid)} the sizes are {np.unique(sizes).tolist()}."
            )
        target = rng.choice(allowed)
    of_size = sizes == target
    stubby = choices[of_size & (longest <= 1.5 * longest[of_size].min())]
    chosen: IntArray = stubby[rng.integers(len(stubby))]
    return chosen


def _diagonal_repeats(unit: Structure, n_cells: int) -> IntArray:
    """Return the repeats along the periodic directions that make the least elongated cell."""
    lengths = np.linalg.norm(unit.cell, axis=1)
    periodic = [k for k in range(3) if unit.pbc[k]]
    best, best_cost = np.ones(3, dtype=np.int64), np.inf
    if not periodic:
        return best
    divisors = [d for d in range(1, n_cells + 1) if n_cells % d == 0]
    choices = [divisors if k in periodic else [1] for k in range(3)]
    for b, a, c in product(choices[1], choices[0], choices[2]):
        repeats = np.array([a, b, c])
        cost = float((repeats * lengths)[periodic].max())
        if a * b * c == n_cells and cost < best_cost:
            best, best_cost = repeats, cost
    return best


def deformed(structure: Structure, deformation: FloatArray) -> Structure:
    """Return the structure whose cell and positions (rows) are multiplied by the deformation."""
    return Structure(
        structure.numbers,
        structure.positions @ deformation,
        structure.cell @ deformation,
        structure.pbc,
    )


def random_deformation(
    rng: np.random.Generator, standard_deviation: float, *, volume_factor: float = 1.0
) -> FloatArray:
    """Return a random symmetric deformation of a given determinant, shape (3, 3).

    Parameters
    ----------
    rng
        Source of randomness.
    standard_deviation
        Of every independent strain component, before the volume is set; dimensionless.
    volume_factor
        The determinant.
    """
    draws = rng.normal(0.0, standard_deviation, 6)
    strain = np.zeros((3, 3))
    strain[np.triu_indices(3)] = draws
    strain = strain + strain.T - np.diag(np.diag(strain))
    deformation = np.eye(3) + np.clip(strain, -0.3, 0.3)
    scaled: FloatArray = deformation * np.cbrt(volume_factor / np.linalg.det(deformation))
    return scaled


def rattled(structure: Structure, amplitude: float, rng: np.random.Generator) -> Structure:
    """Return the structure with normal displacements of the given standard deviation, Å."""
    noise = rng.normal(0.0, amplitude, structure.positions.shape) if amplitude > 0.0 else 0.0
    return Structure(structure.numbers, structure.positions + noise, structure.cell, structure.pbc)


def with_vacancies(structure: Structure, n_vacancies: int, rng: np.random.Generator) -> Structure:
    """Return the structure without some of its atoms, chosen at random.

    Raises
    ------
    StructureError
        If no atom would be left.
    """
    if n_vacancies == 0:
        return structure
    if n_vacancies >= structure.n_atoms:
        raise StructureError(
            f"{n_vacancies} vacancies leave nothing of {structure.n_atoms} atoms. "
            "Ask for fewer, or for a larger cell."
        )
    removed = rng.choice(structure.n_atoms, n_vacancies, replace=False)
    kept = np.setdiff1d(np.arange(structure.n_atoms), removed)
    return Structure(
        structure.numbers[kept], structure.positions[kept], structure.cell, structure.pbc
    )


def mixed(structure: Structure, mixture: Mixture, rng: np.random.Generator) -> Structure:
    """Return the structure with the sites of an alloy filled at random.

    The numbers of atoms are the rounded shares (largest remainders first), the places random; the
    volume follows the mean atomic volume of the new composition over that of the old one.

    Raises
    ------
    StructureError
        If no site holds one of the mixture's elements.
    """
    sites = np.flatnonzero(np.isin(structure.numbers, mixture.numbers))
    if len(sites) == 0:
        names = ", ".join(SYMBOLS[number] for number in mixture.numbers)
        raise StructureError(f"No site of the structure holds one of {names}; nothing to mix.")
    fractions = mixture.fractions
    if fractions is None:
        fractions = tuple(rng.dirichlet(np.ones(len(mixture.numbers))))
    exact = np.array(fractions) * len(sites)
    counts = np.floor(exact + 1e-9).astype(np.int64)
    by_remainder = np.argsort(-(exact - counts), kind="stable")
    counts[by_remainder[: len(sites) - counts.sum()]] += 1
    numbers = structure.numbers.copy()
    numbers[sites] = rng.permutation(np.repeat(mixture.numbers, counts))
    old, new = (
        sum(mixture.atomic_volumes.get(int(number), 0.0) for number in occupied)
        for occupied in (structure.numbers[sites], numbers[sites])
    )
    scale = 1.0
    if old > 0.0 and new > 0.0:
        others = structure.volume * (1.0 - len(sites) / structure.n_atoms)
        occupied_volume = structure.volume - others
        scale = float(np.cbrt((others + occupied_volume * new / old) / structure.volume))
    renamed = Structure(numbers, structure.positions, structure.cell, structure.pbc)
    return deformed(renamed, scale * np.eye(3))


def made_structure(structure: Structure, recipe: Recipe, rng: np.random.Generator) -> Structure:
    """Return a starting structure made from a given one by a recipe.

    The order is: cell, occupation, vacancies, deformation, displacements.

    Raises
    ------
    StructureError
        If the cell cannot be made, or no displacement keeps the atoms apart.
    """
    made = sized_cell(structure, recipe.size, rng)
    if recipe.mixture is not None:
        made = mixed(made, recipe.mixture, rng)
    n_vacancies = recipe.n_vacancies
    if recipe.vacancy_probability > 0.0 and made.n_atoms >= 8:
        n_vacancies += int(rng.random() < recipe.vacancy_probability)
    made = with_vacancies(made, n_vacancies, rng)
    volume_factor = recipe.volume_factor
    if recipe.volume_strain > 0.0:
        volume_factor *= 1.0 + rng.uniform(-recipe.volume_strain, recipe.volume_strain)
    made = deformed(made, random_deformation(rng, recipe.shear_strain, volume_factor=volume_factor))
    return _rattled_apart(made, recipe, rng)


def _rattled_apart(structure: Structure, recipe: Recipe, rng: np.random.Generator) -> Structure:
    """Return the rattled structure; amplitudes shrink by a tenth while atoms come too close."""
    amplitude = recipe.rattle
    for _ in range(50):
        trial = rattled(structure, amplitude, rng)
        if recipe.min_distances is None or not close_pairs(trial, recipe.min_distances):
            return trial
        amplitude *= 0.9
    names = [
        f"{SYMBOLS[a]}-{SYMBOLS[b]} {distance:.2f} Å"
        for a, b, distance in close_pairs(structure, recipe.min_distances or {})
    ]
    raise StructureError(
        f"Atoms are too close even without displacements: {', '.join(names[:3])}. Check the "
        "structure, `volume_factor`, or the gate's `min_distance_factor`."
    )


def close_pairs(
    structure: Structure, min_distances: Mapping[tuple[int, int], float]
) -> Sequence[tuple[int, int, float]]:
    """Return the pairs that are closer than allowed: atomic numbers and distance, nearest first.

    Parameters
    ----------
    structure
        Any structure.
    min_distances
        Smallest allowed distance by pair of atomic numbers (smaller first), Å.
    """
    if not min_distances:
        return []
    neighbours = neighbour_list(structure, max(min_distances.values()))
    vectors = pair_vectors(neighbours, structure.positions, structure.cell)
    distances = np.sqrt((vectors**2).sum(axis=1))
    first = np.repeat(structure.numbers, np.diff(neighbours.offsets))
    second = structure.numbers[neighbours.indices]
    found = []
    for (a, b), limit in min_distances.items():
        close = (first == a) & (second == b) & (distances < limit)
        if close.any():
            found.append((a, b, float(distances[close].min())))
    return sorted(found, key=lambda pair: pair[2])


__all__ = [
    "CellShape",
    "Mixture",
    "Recipe",
    "Size",
    "close_pairs",
    "deformed",
    "made_structure",
    "mixed",
    "random_deformation",
    "rattled",
    "sized_cell",
    "with_vacancies",
]
