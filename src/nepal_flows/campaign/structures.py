"""The structures a campaign begins from: seeds to label, and starts of exploration runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase.data import atomic_numbers, covalent_radii, reference_states

from nepal_flows.campaign.exploration import (
    CellChoice,
    Condition,
    GateSection,
    Mix,
    SeedsSection,
)
from nepal_flows.campaign.model import Campaign
from nepal_flows.core.elements import atomic_number
from nepal_flows.core.lattices import supercell
from nepal_flows.core.seeds import (
    CellShape,
    Mixture,
    Recipe,
    Size,
    deformed,
    made_structure,
    random_deformation,
    rattled,
)
from nepal_flows.core.structure import Structure, elements_present
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.errors import CampaignError, StructureError
from nepal_flows.io.covalent import smallest_distances
from nepal_flows.records.keys import derived_seed
from nepal_flows.typing import FloatArray

_ATOMS_PER_CELL = {"fcc": 4.0, "bcc": 2.0, "diamond": 8.0, "sc": 1.0}


@dataclass(frozen=True, eq=False)
class SeedStructure:
    """A structure to label before the first model exists.

    Attributes
    ----------
    structure
        The configuration.
    note
        How it was made, in words.
    """

    structure: Structure
    note: str


def seed_structures(
    campaign: Campaign, structures: Sequence[Structure]
) -> tuple[SeedStructure, ...]:
    """Return the seeds of a campaign; equal input gives equal seeds.

    Parameters
    ----------
    campaign
        The campaign.
    structures
        Its starting structures, in order.

    Raises
    ------
    CampaignError
        If a seed cannot be made; the message says which and why.
    """
    section = campaign.seeds
    sources = section.structures
    chosen = (
        range(len(structures))
        if sources is None
        else [campaign.structure_index(source) for source in sources]
    )
    distances = gate_distances(campaign.exploration.gate, structures, campaign=campaign)
    rattles = np.linspace(*section.rattle_A, section.n)
    factors = _lattice_factors(section, len(chosen))
    seeds = []
    for index in range(section.n):
        source = chosen[index % len(chosen)]
        recipe = Recipe(
            size=_size(campaign, section),
            volume_factor=float(factors[index // len(chosen)]) ** 3,
            volume_strain=section.volume_strain,
            shear_strain=section.shear_strain,
            rattle=float(rattles[index]),
            vacancy_probability=section.vacancy_probability,
            mixture=_mixture(section.mix, structures),
            min_distances=distances,
        )
        rng = np.random.default_rng(derived_seed(campaign.seed, "seed structure", index))
        try:
            made = made_structure(structures[source], recipe, rng)
        except StructureError as error:
            raise CampaignError(f"Seed {index} cannot be made: {error}") from error
        name = campaign.structure_names[source]
        seeds.append(SeedStructure(made, f"seed {index} of {name}, rattled {rattles[index]:.3f} Å"))
    return tuple(seeds)


def starting_structure(
    campaign: Campaign,
    structures: Sequence[Structure],
    condition: Condition,
    *,
    rng: np.random.Generator,
    size_factor: float = 1.0,
) -> Structure:
    """Return the start of one exploration run.

    Parameters
    ----------
    campaign
        The campaign.
    structures
        Its starting structures, in order.
    condition
        One of its conditions.
    rng
        Source of randomness: of this replica in this round.
    size_factor
        Atoms over those the condition asks for (the confirmation round is larger).

    Raises
    ------
    CampaignError
        If it cannot be made; the message names the condition.
    """
    start = condition.start
    structure = structures[campaign.structure_index(start.structure)]
    volume_factor = start.volume_factor
    recipe = Recipe(
        size=enlarged_size(campaign, start, structure, size_factor),
        volume_factor=(
            float(rng.uniform(*volume_factor))
            if isinstance(volume_factor, tuple)
            else volume_factor
        ),
        shear_strain=start.strain,
        rattle=start.rattle_A,
        n_vacancies=start.vacancies,
        vacancy_probability=start.vacancy_probability,
        mixture=_mixture(start.mix, structures),
        min_distances=gate_distances(campaign.exploration.gate, structures, campaign=campaign),
    )
    try:
        return made_structure(structure, recipe, rng)
    except StructureError as error:
        raise CampaignError(f"Condition `{condition.name}` cannot start: {error}") from error


def check_sample(campaign: Campaign, structure: Structure) -> Structure:
    """Return the smallest cell on which labels can be checked: strained, rattled, with forces."""
    rng = np.random.default_rng(campaign.seed)
    cell = primitive_cell(structure)
    if cell.n_atoms == 1:  # a lone atom feels no force, whatever its label says
        cell = supercell(cell, np.array([1, 1, 2]))
    return rattled(deformed(cell, random_deformation(rng, 0.01)), 0.05, rng)


def validation_structure(
    campaign: Campaign, structures: Sequence[Structure], *, rng: np.random.Generator
) -> Structure:
    """Return the start of a trajectory of the teacher, lightly rattled.

    Raises
    ------
    CampaignError
        If the campaign has no validation section, or the structure cannot be made.
    """
    section = campaign.validation
    if section is None:
        raise CampaignError("The campaign file has no `validation` section. Add one.")
    recipe = Recipe(
        size=Size(n_atoms=section.n_atoms), rattle=0.02, mixture=_mixture(section.mix, structures)
    )
    try:
        return made_structure(structures[campaign.structure_index(section.structure)], recipe, rng)
    except StructureError as error:
        raise CampaignError(f"The validation cannot start: {error}") from error


def enlarged_size(
    campaign: Campaign, choice: CellChoice, structure: Structure, factor: float
) -> Size:
    """Return the size a cell choice asks for, with ``factor`` times the atoms."""
    size = _size(campaign, choice)
    if factor == 1.0:
        return size
    n_atoms = choice.n_atoms
    if isinstance(n_atoms, tuple):
        n_atoms = n_atoms[1]
    if n_atoms is None:
        repeats = choice.supercell or (1, 1, 1)
        n_atoms = structure.n_atoms * int(np.prod(repeats))
    shape: CellShape = "folded" if choice.mode == "folded" else "supercell"
    return Size(n_atoms=round(factor * n_atoms), shape=shape, grid=size.grid)


def gate_distances(
    gate: GateSection, structures: Sequence[Structure], *, campaign: Campaign | None = None
) -> dict[tuple[int, int], float]:
    """Return the smallest allowed distance by pair of atomic numbers (smaller first), Å."""
    numbers = {int(number) for number in elements_present(structures)}
    if campaign is not None and campaign.model.elements != "auto":
        numbers |= {atomic_number(symbol) for symbol in campaign.model.elements}
    distances = smallest_distances(numbers, factor=gate.min_distance_factor)
    for pair, distance in gate.min_distance_A.items():
        a, b = sorted(atomic_numbers[symbol] for symbol in pair.split("-"))
        distances[a, b] = distance
    return distances


def atomic_volumes(numbers: Sequence[int], structures: Sequence[Structure]) -> dict[int, float]:
    """Return a volume per atom for each element, Å^3.

    That of a starting structure of the pure element where there is one, else that of the
    element's reference crystal, else a sphere of twice the covalent radius cubed.
    """
    volumes = {}
    for number in numbers:
        pure = [s for s in structures if (s.numbers == number).all() and all(s.pbc)]
        reference: dict[str, Any] = reference_states[number] or {}
        symmetry, a = reference.get("symmetry"), reference.get("a")
        if pure:
            volumes[number] = pure[0].volume / pure[0].n_atoms
        elif symmetry in _ATOMS_PER_CELL and a:
            volumes[number] = a**3 / _ATOMS_PER_CELL[symmetry]
        elif symmetry == "hcp" and a:
            volumes[number] = np.sqrt(3.0) / 4.0 * a**3 * reference["c/a"]
        else:
            volumes[number] = 8.0 * float(covalent_radii[number]) ** 3
    return volumes


def _lattice_factors(section: SeedsSection, n_structures: int) -> FloatArray:
    """Return the lengths of every structure's seeds over its own, first to last."""
    n_each = -(-section.n // n_structures)
    return np.linspace(*(section.lattice_factor or (1.0, 1.0)), n_each)


def _size(campaign: Campaign, choice: CellChoice) -> Size:
    kpoints = getattr(campaign.labels, "kpoints", None)
    size = Size(choice.n_atoms, choice.supercell, choice.mode)
    return size if kpoints is None else replace(size, grid=kpoints.grid)


def _mixture(mix: Mix | None, structures: Sequence[Structure]) -> Mixture | None:
    if mix is None:
        return None
    numbers = tuple(atomic_number(symbol) for symbol in mix.elements)
    fractions = None if mix.fractions == "random" else tuple(mix.fractions)
    return Mixture(numbers, fractions, atomic_volumes(numbers, structures))


__all__ = [
    "SeedStructure",
    "atomic_volumes",
    "check_sample",
    "enlarged_size",
    "gate_distances",
    "seed_structures",
    "starting_structure",
    "validation_structure",
]
