"""Structures and labels from ASE's Atoms and from the files ASE reads, and back.

Labels are read where ASE and NEP leave them: in the results of the calculator (ASE moves
``energy``, ``free_energy``, ``forces`` and ``stress`` there when it reads a file) and, for NEP's
own names, in ``atoms.info`` (``virial``, ``weight``) and ``atoms.arrays`` (``force``). The energy
is the one whose gradient the forces are: ``free_energy`` where it is given.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, LabelledDataError, StructureError
from nepal_flows.typing import FloatArray

VIRIAL_TOLERANCE = 1e-3
"""Largest disagreement of virial and stress: absolute in eV and relative, whichever is larger."""

_LABEL_NAMES = ("energy", "forces", "force", "virial", "stress")


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
    structure = structure_from_atoms(atoms)
    labels = _labels(atoms)
    missing = [name for name in ("energy", "forces") if name not in labels]
    if missing:
        raise LabelledDataError(
            f"{' and '.join(f'`{name}`' for name in missing)} cannot be found (found: "
            f"{', '.join(_names_present(atoms)) or 'no label'}). Training data need `energy` (eV) "
            "and `forces` (eV/Å) in every frame under these names."
        )
    return LabelledStructure(
        structure=structure,
        energy=_number(labels["energy"], "energy"),
        forces=labels["forces"],
        virial=_virial(labels, structure.volume),
        weight=_weight(atoms),
    )


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
        If the file is missing, unreadable or empty, or a frame is unusable; the message names
        the file and the frame.
    """
    return [_named(structure_from_atoms, atoms, path, i) for i, atoms in _frames(path)]


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
        If the file is missing, unreadable or empty, or a frame has no lattice.
    LabelledDataError
        If a frame lacks energy or forces, or its labels contradict each other or are not finite.
        Messages name the file and the frame, counted from 0.
    """
    convert = _labelled_as_by_labeler if prefers_label_energy else labelled_from_atoms
    return [_named(convert, atoms, path, i) for i, atoms in _frames(path)]


def _labelled_as_by_labeler(atoms: Atoms) -> LabelledStructure:
    labelled = labelled_from_atoms(atoms)
    if "label_energy" not in atoms.info:
        return labelled
    energy = _number(atoms.info["label_energy"], "label_energy")
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


def _labels(atoms: Atoms) -> dict[str, Any]:
    """Return what is found of energy, forces, virial and stress, by name."""
    labels: dict[str, Any] = {}
    if atoms.calc is not None:
        for name, key in (
            ("energy", "energy"),
            ("free_energy", "energy"),
            ("forces", "forces"),
            ("stress", "stress"),
        ):
            value = _calculator_result(atoms, name)
            if value is not None:
                labels[key] = value
    plain = {name.lower(): value for name, value in (*atoms.info.items(), *atoms.arrays.items())}
    for name in _LABEL_NAMES:
        key = "forces" if name == "force" else name
        if name in plain and key not in labels:
            labels[key] = plain[name]
    return labels


def _calculator_result(atoms: Atoms, name: str) -> Any:
    """Return a result the calculator holds for these atoms, or None."""
    if name not in getattr(atoms.calc, "results", {}):
        return None
    return atoms.calc.get_property(name, atoms, allow_calculation=False)


def _names_present(atoms: Atoms) -> list[str]:
    results = list(getattr(atoms.calc, "results", {})) if atoms.calc is not None else []
    extra = [name for name in atoms.arrays if name not in {"numbers", "positions"}]
    return sorted({*results, *atoms.info, *extra})


def _virial(labels: dict[str, Any], volume: float) -> FloatArray | None:
    virial = None
    if "virial" in labels:
        virial = _tensor(labels["virial"], "virial")
    if "stress" not in labels:
        return virial
    from_stress = -volume * _tensor(labels["stress"], "stress")
    if virial is None:
        return from_stress
    if not np.allclose(virial, from_stress, rtol=VIRIAL_TOLERANCE, atol=VIRIAL_TOLERANCE):
        largest = float(np.abs(virial - from_stress).max())
        raise LabelledDataError(
            f"`virial` and `stress` contradict each other by up to {largest:.4g} eV. The virial is "
            "-stress x volume (virial in eV, positive when compressed; stress in eV/Å^3, positive "
            "in tension). Correct one of them, or keep only one."
        )
    return virial


def _tensor(value: Any, name: str) -> FloatArray:
    array = _numbers(value, name)
    if array.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(array), dtype=np.float64)
    if array.size != 9:
        raise LabelledDataError(f"`{name}` has {array.size} values, expected 9 (row by row).")
    return array.reshape(3, 3)


def _weight(atoms: Atoms) -> float:
    value = next((v for name, v in atoms.info.items() if name.lower() == "weight"), 1.0)
    weight = _number(value, "weight")
    if not 0.0 < weight < np.inf:
        raise LabelledDataError(f"`weight` is {weight:g}, expected a positive number.")
    return weight


def _number(value: Any, name: str) -> float:
    array = _numbers(value, name)
    if array.size != 1:
        raise LabelledDataError(f"`{name}` has {array.size} values, expected one number.")
    return float(array.ravel()[0])


def _numbers(value: Any, name: str) -> FloatArray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LabelledDataError(f"`{name}` is `{value}`, expected numbers.") from error


__all__ = [
    "VIRIAL_TOLERANCE",
    "atoms_from_labelled",
    "atoms_from_structure",
    "labelled_from_atoms",
    "read_labelled",
    "read_structures",
    "structure_from_atoms",
]
