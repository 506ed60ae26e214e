"""Structures and labels from ASE's Atoms and from the files ASE reads, and back.

Where labels are looked for is in ``io.ase_labels``.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress

from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, LabelledDataError, StructureError
from nepal_flows.io import ase_labels

SMALLEST_DISTANCE = 0.01
"""Distance below which two atoms of a file coincide, Å: no code and no potential takes them."""


@dataclass(frozen=True, eq=False)
class FileFrame:
    """One frame of a file, labelled or not.

    Attributes
    ----------
    structure
        The configuration.
    label
        The same with its labels; None where there are none, or none that can be used.
    reason
        Why they cannot be used.
    """

    structure: Structure
    label: LabelledStructure | None = None
    reason: str | None = None


def structure_from_atoms(atoms: Atoms) -> Structure:
    """Return the structure of an ASE object.

    Raises
    ------
    StructureError
        If there is no cell, no atom, or a number is not finite.
    """
    if atoms.cell.rank < 3:
        raise StructureError(
            f"The structure {atoms.get_chemical_formula()} has no three-dimensional cell "
            f"({np.array(atoms.cell).tolist()}). Give a lattice; surround a molecule or a slab "
            "with vacuum, e.g. `atoms.center(vacuum=8)`."
        )
    if (np.asarray(atoms.numbers) < 1).any():
        raise StructureError(
            f"The structure {atoms.get_chemical_formula()} holds placeholders (`X`) instead of "
            "elements. Name every atom's element."
        )
    pbc = tuple(bool(flag) for flag in atoms.pbc)
    return Structure(
        numbers=np.array(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions, dtype=np.float64),
        cell=np.array(atoms.cell, dtype=np.float64),
        pbc=(pbc[0], pbc[1], pbc[2]),
    )


def atoms_from_structure(structure: Structure) -> Atoms:
    """Return the structure as an ASE object without calculator."""
    return Atoms(
        numbers=structure.numbers,
        positions=structure.positions,
        cell=structure.cell,
        pbc=structure.pbc,
    )


def labelled_from_atoms(atoms: Atoms) -> LabelledStructure:
    """Return the structure of an ASE object with its labels.

    Nothing is computed: a calculator must hold its results for these very positions.

    Raises
    ------
    StructureError
        If the structure is unusable, e.g. without a lattice.
    LabelledDataError
        If energy or forces are missing, virial and stress contradict each other, or a number is
        not finite.
    """
    return ase_labels.labelled(atoms, structure_from_atoms(atoms))


def atoms_from_labelled(labelled: LabelledStructure) -> Atoms:
    """Return an ASE object whose getters give the labels; the stress is in ASE's sign."""
    atoms = atoms_from_structure(labelled.structure)
    results: dict[str, Any] = {
        "energy": labelled.energy,
        "free_energy": labelled.energy,
        "forces": labelled.forces.copy(),
    }
    if labelled.virial is not None:
        symmetric = 0.5 * (labelled.virial + labelled.virial.T)
        results["stress"] = full_3x3_to_voigt_6_stress(-symmetric / labelled.structure.volume)
    if labelled.weight != 1.0:
        atoms.info["weight"] = labelled.weight
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def read_structures(path: str | Path) -> list[Structure]:
    """Return every structure of a file that ASE reads; labels are ignored.

    Raises
    ------
    StructureError
        If the file is missing, unreadable or empty, or a frame is unusable: a number is not
        finite, atoms coincide, there is no lattice. The message names the file and the frame.
    """
    return [_named(_apart, atoms, path, i) for i, atoms in _frames(path)]


def moments_by_element(path: str | Path, frame: int = 0) -> dict[str, tuple[float, ...]]:
    """Return the magnetic moments that a file gives to sites, by element, each value once.

    Parameters
    ----------
    path, frame
        A file that `read_structures` reads, and which structure in it.

    Returns
    -------
    dict
        Bohr magnetons, ascending; empty where the file has none, or nothing but zeros.
    """
    atoms = _frames(path)[frame][1]
    moments = atoms.arrays.get("initial_magmoms")
    if moments is None and atoms.calc is not None:
        moments = atoms.calc.results.get("magmoms")
    if moments is None or not np.any(moments):
        return {}
    sizes = np.asarray(moments, dtype=float).reshape(len(atoms), -1)
    values = sizes[:, 0] if sizes.shape[1] == 1 else np.linalg.norm(sizes, axis=1)
    symbols = np.array(atoms.get_chemical_symbols())
    return {
        str(symbol): tuple(float(v) for v in np.unique(values[symbols == symbol].round(3)))
        for symbol in np.unique(symbols)
    }


def read_labelled(
    path: str | Path, *, prefers_label_energy: bool = False
) -> list[LabelledStructure]:
    """Return every frame of a file with its energy, forces and, where given, virial.

    Parameters
    ----------
    path
        Any file that ASE reads.
    prefers_label_energy
        Whether ``label_energy`` replaces ``energy`` where a frame has it: in the files of
        ``nepal export`` the former is the labeler's, the latter relative to reference energies.

    Raises
    ------
    StructureError
        As :func:`read_structures`.
    LabelledDataError
        If a frame lacks energy or forces, or its labels contradict each other, are not finite or
        beyond anything physical. Messages name the file and the frame, counted from 0.
    """
    convert = _labelled_as_by_labeler if prefers_label_energy else _labelled_apart
    return [_named(convert, atoms, path, i) for i, atoms in _frames(path)]


def read_frames(path: str | Path) -> list[FileFrame]:
    """Return every frame of a file with its labels, or why they cannot be used.

    Raises
    ------
    StructureError
        As :func:`read_structures`.
    """
    return [_named(_frame, atoms, path, i) for i, atoms in _frames(path)]


def _frame(atoms: Atoms) -> FileFrame:
    structure = _apart(atoms)
    if not ase_labels.has_labels(atoms):
        return FileFrame(structure)
    try:
        return FileFrame(structure, ase_labels.labelled(atoms, structure))
    except LabelledDataError as error:
        return FileFrame(structure, reason=str(error))


def _apart(atoms: Atoms) -> Structure:
    """Return the structure of an ASE object whose atoms do not coincide."""
    structure = structure_from_atoms(atoms)
    close = neighbour_list(structure, SMALLEST_DISTANCE)
    if close.n_pairs:
        first = int(np.flatnonzero(np.diff(close.offsets))[0])
        second = int(close.indices[close.offsets[first]])
        raise StructureError(
            f"Atoms {first} and {second} (counted from 0) are closer than {SMALLEST_DISTANCE:g} Å. "
            "Remove one of them, or drop the frame."
        )
    return structure


def _labelled_apart(atoms: Atoms) -> LabelledStructure:
    return ase_labels.labelled(atoms, _apart(atoms))


def _labelled_as_by_labeler(atoms: Atoms) -> LabelledStructure:
    labelled = _labelled_apart(atoms)
    if "label_energy" not in atoms.info:
        return labelled
    energy = ase_labels.number(atoms.info["label_energy"], "label_energy")
    return dataclasses.replace(labelled, energy=energy)


def _frames(path: str | Path) -> list[tuple[int, Atoms]]:
    path = Path(path)
    if not path.is_file():
        raise StructureError(f"There is no file `{path}`. Give the path of a structure file.")
    try:
        frames = read(str(path), index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever their parsing meets
        raise StructureError(
            f"`{path}` cannot be read ({type(error).__name__}: {error}). Give a file in a format "
            "that ASE reads, e.g. POSCAR, CIF or extended XYZ."
        ) from error
    images = [frames] if isinstance(frames, Atoms) else list(frames)
    if not images:
        raise StructureError(f"`{path}` holds no structure.")
    return list(enumerate(images))


def _named(convert: Any, atoms: Atoms, path: str | Path, index: int) -> Any:
    """Return ``convert(atoms)``; an error names the file and the frame."""
    try:
        return convert(atoms)
    except InputError as error:
        raise type(error)(f"Frame {index} of `{path}`: {error}") from error


__all__ = [
    "SMALLEST_DISTANCE",
    "FileFrame",
    "atoms_from_labelled",
    "atoms_from_structure",
    "labelled_from_atoms",
    "moments_by_element",
    "read_frames",
    "read_labelled",
    "read_structures",
    "structure_from_atoms",
]
