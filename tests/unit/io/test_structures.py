"""Structures and labels: round trips through files, getters and NEP's names; bad data is named."""

import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, LabelledDataError, StructureError
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.structures import (
    atoms_from_labelled,
    atoms_from_structure,
    labelled_from_atoms,
    read_labelled,
    read_structures,
    structure_from_atoms,
)

HEADER = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3'
TWO_ATOMS = "Cu 0 0 0{first}\nCu 1.9 1.9 0.1{second}\n"


def teacher_frame(scale: float = 0.95, seed: int = 0) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (1, 1, 2)
    atoms.set_cell(atoms.cell * scale @ (np.eye(3) + 0.02 * np.tri(3)), scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    atoms.get_stress()
    return atoms


def written(
    tmp_path: Path, comment: str, columns: str = "", first: str = "", second: str = ""
) -> Path:
    path = tmp_path / "train.xyz"
    body = TWO_ATOMS.format(first=first, second=second)
    path.write_text(f"2\n{HEADER}{columns} {comment}\n{body}")
    return path


FORCES = {"columns": ":forces:R:3", "first": " 0.1 0.2 0.3", "second": " -0.1 -0.2 -0.3"}


def test_structure_survives_atoms() -> None:
    atoms = teacher_frame()
    atoms.pbc = (True, False, True)
    again = atoms_from_structure(structure_from_atoms(atoms))
    assert (again.numbers == atoms.numbers).all()
    assert (again.pbc == atoms.pbc).all()
    np.testing.assert_array_equal(again.positions, atoms.positions)
    np.testing.assert_array_equal(again.cell, atoms.cell)


def test_virial_is_positive_when_compressed() -> None:
    labelled = labelled_from_atoms(teacher_frame(scale=0.94))
    assert labelled.virial is not None
    assert np.trace(labelled.virial) > 0


def test_labels_come_from_the_calculator() -> None:
    atoms = teacher_frame()
    labelled = labelled_from_atoms(atoms)
    assert labelled.energy == atoms.get_potential_energy(force_consistent=True)
    np.testing.assert_array_equal(labelled.forces, atoms.get_forces())
    np.testing.assert_allclose(labelled.virial, -atoms.get_volume() * atoms.get_stress(voigt=False))


def test_free_energy_is_taken_before_energy() -> None:
    atoms = bulk("Cu")
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, free_energy=1.5, forces=np.zeros((1, 3)))
    assert labelled_from_atoms(atoms).energy == 1.5


def test_nothing_is_computed_for_moved_atoms() -> None:
    atoms = teacher_frame()
    atoms.positions[0] += 0.1
    with pytest.raises(LabelledDataError, match="energy"):
        labelled_from_atoms(atoms)


def test_getters_give_back_the_labels() -> None:
    labelled = labelled_from_atoms(teacher_frame())
    atoms = atoms_from_labelled(labelled)
    assert atoms.get_potential_energy() == labelled.energy
    assert atoms.get_potential_energy(force_consistent=True) == labelled.energy
    np.testing.assert_allclose(
        -atoms.get_volume() * atoms.get_stress(voigt=False), labelled.virial, atol=1e-12
    )
    again = labelled_from_atoms(atoms)
    np.testing.assert_array_equal(again.forces, labelled.forces)


def test_written_labels_are_read_by_ases_getters(tmp_path: Path) -> None:
    frames = [labelled_from_atoms(teacher_frame(seed=seed)) for seed in range(2)]
    write_extxyz(frames, tmp_path / "train.xyz")
    images = ase.io.read(tmp_path / "train.xyz", index=":")
    for atoms, frame in zip(images, frames, strict=True):
        assert atoms.get_potential_energy() == frame.energy
        assert atoms.get_potential_energy(force_consistent=True) == frame.energy
        np.testing.assert_allclose(atoms.get_forces(), frame.forces, atol=1e-10)
        np.testing.assert_allclose(
            -atoms.get_volume() * atoms.get_stress(voigt=False), frame.virial, atol=1e-9
        )
        np.testing.assert_allclose(atoms.positions, frame.structure.positions, atol=1e-10)
        np.testing.assert_array_equal(atoms.cell, frame.structure.cell)


def test_written_labels_carry_neps_names(tmp_path: Path) -> None:
    frame = labelled_from_atoms(teacher_frame())
    text = write_extxyz([frame], tmp_path / "train.xyz").read_text().splitlines()[1]
    virial = [float(word) for word in re.search(r' virial="([^"]*)"', text)[1].split()]
    np.testing.assert_array_equal(virial, frame.virial.ravel())
    assert float(re.search(r" energy=(\S+)", text)[1]) == frame.energy
    assert "Properties=species:S:1:pos:R:3:forces:R:3" in text


def test_files_written_by_ase_are_read(tmp_path: Path) -> None:
    atoms = teacher_frame()
    ase.io.write(tmp_path / "ase.xyz", atoms, format="extxyz")
    (frame,) = read_labelled(tmp_path / "ase.xyz")
    expected = labelled_from_atoms(atoms)
    assert frame.energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(frame.forces, expected.forces, atol=1e-7)
    np.testing.assert_allclose(frame.virial, expected.virial, atol=1e-7)


def test_round_trip_keeps_weight_pbc_and_missing_virial(tmp_path: Path) -> None:
    structure = Structure(np.array([29, 79]), np.eye(3)[:2], 4 * np.eye(3), (True, True, False))
    frame = LabelledStructure(structure, -1.25, np.zeros((2, 3)), weight=0.5)
    (again,) = read_labelled(write_extxyz([frame], tmp_path / "one.xyz"))
    assert (again.weight, again.virial, again.structure.pbc) == (0.5, None, structure.pbc)
    assert again.structure.numbers.tolist() == [29, 79]


def test_extra_values_and_columns_are_read_by_ase(tmp_path: Path) -> None:
    structure = structure_from_atoms(bulk("Cu") * (1, 1, 2))
    info = {"max_gamma": 3.25, "condition": "melt at 1500 K", "step": 7, "is_hot": True}
    arrays = {"gamma": np.array([1.5, 1234.5678901]), "flag": np.array([True, False])}
    path = write_extxyz([structure], tmp_path / "graded.xyz", info=[info], arrays=[arrays])
    atoms = ase.io.read(path)
    assert {name: atoms.info[name] for name in info} == info
    np.testing.assert_allclose(atoms.arrays["gamma"], arrays["gamma"], rtol=1e-9)
    assert atoms.arrays["flag"].tolist() == [True, False]


def test_reserved_names_cannot_be_overwritten(tmp_path: Path) -> None:
    structure = structure_from_atoms(bulk("Cu"))
    with pytest.raises(InputError, match="energy"):
        write_extxyz([structure], tmp_path / "x.xyz", info=[{"energy": 1.0}])


@pytest.mark.parametrize("name", ["force", "forces"])
def test_both_names_of_forces_are_read(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, "energy=-2.5", **{**FORCES, "columns": f":{name}:R:3"})
    assert read_labelled(path)[0].forces[0].tolist() == [0.1, 0.2, 0.3]


def test_virial_and_stress_that_agree_are_accepted(tmp_path: Path) -> None:
    virial = " ".join(["6.4", "0", "0", "0", "6.4", "0", "0", "0", "6.4"])
    stress = virial.replace("6.4", "-0.1")
    path = written(tmp_path, f'energy=1 virial="{virial}" stress="{stress}"', **FORCES)
    np.testing.assert_allclose(read_labelled(path)[0].virial, 6.4 * np.eye(3))


def test_stress_alone_becomes_a_virial(tmp_path: Path) -> None:
    path = written(tmp_path, 'energy=1 stress="-0.1 0 0 0 -0.1 0 0 0 -0.1"', **FORCES)
    np.testing.assert_allclose(read_labelled(path)[0].virial, 6.4 * np.eye(3))


@pytest.mark.parametrize(
    ("comment", "changes", "message"),
    [
        ("energy=1", {"columns": "", "first": "", "second": ""}, "`forces` cannot be found"),
        ("", {}, "`energy` cannot be found"),
        ("dft_energy=1", {}, "found: dft_energy, forces"),
        ("energy=nan", {}, "NaN"),
        ("energy=1", {"first": " nan 0 0"}, "NaN"),
        ("energy=low", {}, "expected numbers"),
        ("energy=1 weight=-1", {}, "positive number"),
        (
            'energy=1 virial="6 0 0 0 6 0 0 0 6" stress="-0.1 0 0 0 -0.1 0 0 0 -0.1"',
            {},
            "contradict",
        ),
        (
            'energy=1 virial="6.4 0 0 0 6.4 0 0 0 6.4" stress="0.1 0 0 0 0.1 0 0 0 0.1"',
            {},
            "contradict",
        ),
        ('energy=1 virial="6 6 6 0 0 0"', {}, "cannot be read"),
    ],
)
def test_bad_labels_are_refused_with_file_and_frame(
    tmp_path: Path, comment: str, changes: dict[str, str], message: str
) -> None:
    path = written(tmp_path, comment, **{**FORCES, **changes})
    with pytest.raises(InputError, match=message) as caught:
        read_labelled(path)
    assert str(path) in str(caught.value)
    if message != "cannot be read":
        assert "Frame 0" in str(caught.value)


def test_second_bad_frame_is_named(tmp_path: Path) -> None:
    frame = labelled_from_atoms(teacher_frame())
    path = write_extxyz([frame, frame.structure], tmp_path / "mixed.xyz")
    with pytest.raises(LabelledDataError, match="Frame 1 of"):
        read_labelled(path)


def test_missing_lattice_is_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "water.xyz", molecule("H2O"))
    with pytest.raises(StructureError, match=r"Frame 0 .*cell.*vacuum"):
        read_structures(tmp_path / "water.xyz")


@pytest.mark.parametrize("content", [None, "", "not a structure"])
def test_unreadable_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "start.xyz"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StructureError, match=r"start\.xyz"):
        read_structures(path)


def test_poscar_is_read(tmp_path: Path) -> None:
    path = tmp_path / "POSCAR"
    ase.io.write(path, bulk("Cu"), format="vasp")
    assert read_structures(path)[0].numbers.tolist() == [29]


def test_label_energy_is_the_labelers_where_it_is_asked_for(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.zeros((4, 3)))
    atoms.info["label_energy"] = -7.25
    ase.io.write(tmp_path / "bundle.xyz", atoms)
    assert read_labelled(tmp_path / "bundle.xyz")[0].energy == -1.5
    assert read_labelled(tmp_path / "bundle.xyz", prefers_label_energy=True)[0].energy == -7.25
