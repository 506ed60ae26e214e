"""What a campaign file begins with for given structures; every rule is stated where it stands."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase.data import atomic_masses

from nepal_flows.campaign.dft import PlaneWaves, suggested_plane_waves
from nepal_flows.campaign.needs import labels_needed
from nepal_flows.core.elements import atomic_number, symbols_of
from nepal_flows.core.lattices import cell_thicknesses, widest_gap
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.structure import Structure
from nepal_flows.core.symmetry import primitive_cell
from nepal_flows.errors import CampaignError
from nepal_flows.io.upf import UpfHeader

LabelCode = Literal["emt", "espresso", "cp2k", "vasp"]

EMT_METALS = frozenset({"Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au"})
"""Elements for which ASE's EMT is a sensible teacher."""

# fmt: off
MELTING_POINTS_K: Mapping[str, float] = {
    "Li": 454.0, "Be": 1560.0, "B": 2349.0, "C": 3900.0, "Na": 371.0, "Mg": 923.0, "Al": 933.0,
    "Si": 1687.0, "P": 317.0, "S": 388.0, "K": 337.0, "Ca": 1115.0, "Sc": 1814.0, "Ti": 1941.0,
    "V": 2183.0, "Cr": 2180.0, "Mn": 1519.0, "Fe": 1811.0, "Co": 1768.0, "Ni": 1728.0,
    "Cu": 1358.0, "Zn": 693.0, "Ga": 303.0, "Ge": 1211.0, "As": 1090.0, "Se": 494.0, "Rb": 312.0,
    "Sr": 1050.0, "Y": 1799.0, "Zr": 2128.0, "Nb": 2750.0, "Mo": 2896.0, "Tc": 2430.0,
    "Ru": 2607.0, "Rh": 2237.0, "Pd": 1828.0, "Ag": 1235.0, "Cd": 594.0, "In": 430.0, "Sn": 505.0,
    "Sb": 904.0, "Te": 723.0, "Cs": 302.0, "Ba": 1000.0, "La": 1193.0, "Ce": 1068.0, "Hf": 2506.0,
    "Ta": 3290.0, "W": 3695.0, "Re": 3459.0, "Os": 3306.0, "Ir": 2719.0, "Pt": 2041.0,
    "Au": 1337.0, "Tl": 577.0, "Pb": 601.0, "Bi": 545.0,
}
# fmt: on
"""Melting points of the elements near ambient pressure, K, rounded, to suggest temperatures."""

UNKNOWN_MELTING_POINT_K = 900.0
"""What is taken for an element that the table lacks, K."""

VACUUM_A = 6.0
"""Gap between layers of atoms, Å, that counts as vacuum; layered crystals have up to 5."""


@dataclass(frozen=True)
class Choices:
    """What ``nepal init`` fills in.

    Attributes
    ----------
    name, files, structure_names
        Of the campaign, its structure files and the structures.
    elements
        Chemical symbols, by first appearance.
    nearest_neighbour
        Longest nearest-neighbour distance of any atom, Å.
    cutoffs
        Radial and angular, Å.
    time_step
        fs.
    solid_temperature, melt_temperature
        End of the crystal's ramp and where the melt begins, K; None for no melt.
    melting_points
        What the temperatures rest on, by element, K; None where it is not known.
    is_temperature_given
        Whether the end of the ramp was asked for.
    n_atoms, shape
        Size and shape of the exploration's cells.
    seed_atoms, n_seeds
        Size of the seeds (one number or a range) and how many.
    code
        Who labels.
    pseudopotentials, pseudo_dir, functional, plane_waves
        For Quantum ESPRESSO; the functional as the files' names tell it, empty where they do not.
    k_grid
        Grid of the primitive cell where cells fold onto it; None for a spacing.
    is_periodic
        Per structure: whether it fills space in all directions (a slab in vacuum does not).
    mixes
        Whether the elements share their sites (an alloy).
    budget
        Most labels.
    n_projection
        Length d of the B-projection.
    workers
        Processes.
    remarks
        What a person might not expect, in sentences.
    """

    name: str
    files: tuple[str, ...]
    structure_names: tuple[str, ...]
    elements: tuple[str, ...]
    nearest_neighbour: float
    cutoffs: tuple[float, float]
    time_step: float
    solid_temperature: float
    melt_temperature: float | None
    melting_points: Mapping[str, float | None]
    is_temperature_given: bool
    n_atoms: int
    shape: Literal["supercell", "folded"]
    seed_atoms: int | tuple[int, int]
    n_seeds: int
    code: LabelCode
    pseudopotentials: Mapping[str, str]
    pseudo_dir: str | None
    functional: str
    plane_waves: PlaneWaves
    k_grid: tuple[int, int, int] | None
    is_periodic: tuple[bool, ...]
    mixes: bool
    budget: int
    n_projection: int
    workers: int
    remarks: tuple[str, ...] = ()


def nearest_neighbour_distance(structures: Sequence[Structure]) -> float:
    """Return the longest nearest-neighbour distance of any atom, Å.

    Raises
    ------
    CampaignError
        If an atom has no neighbour within 8 Å.
    """
    longest = 0.0
    for structure in structures:
        neighbours = neighbour_list(structure, 8.0)
        vectors = pair_vectors(neighbours, structure.positions, structure.cell)
        lengths = np.linalg.norm(vectors, axis=1)
        for atom in range(structure.n_atoms):
            own = lengths[neighbours.offsets[atom] : neighbours.offsets[atom + 1]]
            if len(own) == 0:
                raise CampaignError(
                    f"Atom {atom} of {''.join(symbols_of(structure.numbers[:1]))}.. has no "
                    "neighbour within 8 Å. Give a condensed structure."
                )
            longest = max(longest, float(own.min()))
    return longest


def has_vacuum(structure: Structure) -> bool:
    """Return whether the cell holds vacuum that a barostat would close.

    A cell of one layer of atoms along some direction repeats it, and is no slab, unless the
    repeats are farther apart than :data:`VACUUM_A`.
    """
    return widest_gap(structure) > VACUUM_A


def suggested_cutoffs(nearest_neighbour: float) -> tuple[float, float]:
    """Return radial and angular cutoff, Å: 2.0 and 1.6 nearest-neighbour distances.

    Both are rounded to half an ångström, between 5 and 8 and between 4 and 6.

    Examples
    --------
    >>> suggested_cutoffs(2.556)
    (5.0, 4.0)
    """
    radial = min(max(round(2.0 * 2.0 * nearest_neighbour) / 2.0, 5.0), 8.0)
    angular = min(max(round(2.0 * 1.6 * nearest_neighbour) / 2.0, 4.0), 6.0)
    return radial, min(radial, angular)


def suggested_time_step(elements: Sequence[str]) -> float:
    """Return the time step, fs: half the square root of the lightest mass, 0.5 to 2.5.

    Examples
    --------
    >>> suggested_time_step(["Cu"]), suggested_time_step(["H", "O"])
    (2.5, 0.5)
    """
    lightest = min(float(atomic_masses[atomic_number(symbol)]) for symbol in elements)
    return min(max(math.floor(2.0 * 0.5 * math.sqrt(lightest)) / 2.0, 0.5), 2.5)


def suggested_temperatures(structure: Structure) -> tuple[float, float]:
    """Return the end of a crystal's ramp and where a melt begins, K.

    They are 1.1 and 1.85 times the mean of the elements' melting points, rounded to 50 K.
    """
    mean = mean_melting_point(structure)
    return 50.0 * round(1.1 * mean / 50.0), 50.0 * round(1.85 * mean / 50.0)


def mean_melting_point(structure: Structure) -> float:
    """Return the mean of the melting points of a structure's atoms, at least 300 K.

    It guesses that of a compound, which is often far higher.
    """
    points = [
        MELTING_POINTS_K.get(symbol, UNKNOWN_MELTING_POINT_K)
        for symbol in symbols_of(structure.numbers)
    ]
    return max(float(np.mean(points)), 300.0)


def suggested_grid(unit: Structure, *, spacing: float = 0.36) -> tuple[int, int, int]:
    """Return an even k-point grid, so that cells of 1 and 2 repeats fold.

    Parameters
    ----------
    unit
        The primitive cell.
    spacing
        Largest distance of k-points, with the factor 2 pi, 1/Å.
    """
    steps = 2.0 * np.pi / cell_thicknesses(unit.cell) / spacing
    n = [2 * max(1, math.ceil(0.5 * step)) for step in steps]
    return n[0], n[1], n[2]


def campaign_choices(
    structures: Sequence[Structure],
    files: Sequence[str],
    structure_names: Sequence[str],
    *,
    name: str,
    code: LabelCode | None = None,
    pseudopotentials: Mapping[str, str] | None = None,
    pseudo_dir: str | None = None,
    headers: Mapping[str, UpfHeader] | None = None,
    functional: str = "",
    mixes: bool = False,
    max_temperature: float | None = None,
    workers: int = 2,
) -> Choices:
    """Return what a campaign file begins with for these structures.

    Parameters
    ----------
    structures, files, structure_names
        The starting structures.
    name
        Of the campaign.
    code
        Who labels; None for EMT where it knows all elements, else Quantum ESPRESSO where
        pseudopotentials are given, else CP2K.
    pseudopotentials, pseudo_dir, headers, functional
        UPF file of every element, their folder, and what the files and their names say.
    mixes
        Whether the elements share their sites.
    max_temperature
        End of the crystal's ramp, K; None for 1.1 melting points. Below the melting point there is
        no melt.
    workers
        Processes.

    Raises
    ------
    CampaignError
        If a structure is no condensed one, or EMT is asked for elements it does not know.
    """
    elements = tuple(dict.fromkeys(s for item in structures for s in symbols_of(item.numbers)))
    code = _label_code(elements, code, pseudopotentials or {})
    nearest = nearest_neighbour_distance(structures)
    cutoffs = suggested_cutoffs(nearest)
    solid, melt = _temperatures(structures[0], max_temperature)
    architecture = NepArchitecture(
        elements, cutoffs[:1], cutoffs[1:], 4, 4, 8, 8, 4, False, False, 20
    )
    is_periodic = tuple(all(item.pbc) and not has_vacuum(item) for item in structures)
    unit = primitive_cell(structures[0])
    folds = (
        code != "emt"
        and len(structures) == 1
        and is_periodic[0]
        and unit.n_atoms <= 4
        and not mixes
    )
    n_atoms = _folded_size(unit.n_atoms, 16) if folds else 32
    seed_atoms: int | tuple[int, int] = (
        (_folded_size(unit.n_atoms, 4), _folded_size(unit.n_atoms, 8)) if folds else n_atoms
    )
    mean_seed = float(np.mean(seed_atoms))
    d = architecture.n_projection
    needed = labels_needed(d, len(elements), n_atoms=0.5 * (mean_seed + n_atoms))[1]
    return Choices(
        name=name,
        files=tuple(files),
        structure_names=tuple(structure_names),
        elements=elements,
        nearest_neighbour=nearest,
        cutoffs=cutoffs,
        time_step=suggested_time_step(elements),
        solid_temperature=solid,
        melt_temperature=melt,
        melting_points={symbol: MELTING_POINTS_K.get(symbol) for symbol in elements},
        is_temperature_given=max_temperature is not None,
        n_atoms=n_atoms,
        shape="folded" if folds else "supercell",
        seed_atoms=seed_atoms,
        n_seeds=min(max(8, math.ceil(0.5 * d * len(elements) / mean_seed)), 40),
        code=code,
        pseudopotentials=dict(pseudopotentials or {}),
        pseudo_dir=pseudo_dir,
        functional=functional,
        plane_waves=suggested_plane_waves(elements, headers or {}),
        k_grid=suggested_grid(unit) if folds else None,
        is_periodic=is_periodic,
        mixes=mixes,
        budget=10 * math.ceil(1.2 * needed / 10.0),
        n_projection=d,
        workers=workers,
    )


def _temperatures(structure: Structure, asked: float | None) -> tuple[float, float | None]:
    """Return the end of the ramp and where the melt begins, K; no melt below the melting point."""
    if asked is None:
        return suggested_temperatures(structure)
    melts = asked >= mean_melting_point(structure)
    return asked, 50.0 * round(1.7 * asked / 50.0) if melts else None


def _label_code(
    elements: Sequence[str], code: LabelCode | None, pseudopotentials: Mapping[str, str]
) -> LabelCode:
    unknown = sorted(set(elements) - EMT_METALS)
    if code == "emt" and unknown:
        raise CampaignError(
            f"EMT knows {', '.join(sorted(EMT_METALS))}, but not {', '.join(unknown)}. "
            "Use `--labels espresso`, `--labels cp2k` or `--labels vasp`."
        )
    if code is not None:
        return code
    if not unknown:
        return "emt"
    return "espresso" if set(elements) <= set(pseudopotentials) else "cp2k"


def _folded_size(n_unit: int, target: int) -> int:
    """Return the number of atoms of the folded multiple nearest to a target."""
    sizes = [n_unit * (1 << k) for k in range(7)]
    return min(sizes, key=lambda n: (abs(n - target), n))


__all__ = [
    "EMT_METALS",
    "MELTING_POINTS_K",
    "UNKNOWN_MELTING_POINT_K",
    "VACUUM_A",
    "Choices",
    "LabelCode",
    "campaign_choices",
    "has_vacuum",
    "mean_melting_point",
    "nearest_neighbour_distance",
    "suggested_cutoffs",
    "suggested_grid",
    "suggested_temperatures",
    "suggested_time_step",
]
