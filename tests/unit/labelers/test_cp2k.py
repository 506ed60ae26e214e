"""CP2K's input says what was checked, and its output is read with the right units and signs."""

import dataclasses

import numpy as np
import pytest

from nepal_flows.errors import LabelError
from nepal_flows.labelers import Cp2kLabeler, Electrons, UnconvergedLabelError
from nepal_flows.labelers.cp2k_data import data_entry
from nepal_flows.labelers.cp2k_output import parse_cp2k_output


def with_command(labeler, command):
    return dataclasses.replace(labeler, command=command)


def test_input_is_the_one_that_was_checked(cp2k, rattled, recorded):
    mesh = cp2k.kpoints.mesh(rattled)
    assert cp2k.input_text(rattled, mesh) == recorded("cp2k/label.inp")


def test_recorded_run_is_read_in_our_units(cp2k, rattled, replay, tmp_path):
    program = replay("cp2k/label.inp", "cp2k/label.out.gz")
    raw = with_command(cp2k, program).label(rattled, tmp_path)
    assert raw.energy == pytest.approx(-7.866235347292901 * 27.211386245988, abs=1e-9)
    assert raw.forces.shape == (2, 3)
    assert raw.forces[0, 0] == pytest.approx(-0.030168060558 * 51.42206748, rel=1e-8)
    assert np.linalg.norm(raw.forces.sum(axis=0)) < 1e-5
    np.testing.assert_allclose(raw.virial, raw.virial.T, atol=1e-9)
    assert raw.info == {"k_grid": [4, 4, 4], "scf_steps": 10}
    assert raw.version == "CP2K 2023.1"


def test_stress_of_cp2k_is_read_row_by_row(recorded):
    output = parse_cp2k_output(recorded("cp2k/label.out.gz"), n_atoms=2)
    assert output.stress[0] == pytest.approx([0.0893285594033, 1.37533333385, -3.01886549161])
    np.testing.assert_allclose(output.stress, output.stress.T, atol=1e-9)


def test_unconverged_run_may_be_tried_again(cp2k, rattled, replay, tmp_path):
    program = replay("cp2k/label.inp", "cp2k/unconverged.out.gz")
    with pytest.raises(UnconvergedLabelError, match="SCF run NOT converged"):
        with_command(cp2k, program).label(rattled, tmp_path)


def test_failed_run_tells_command_code_and_reason(cp2k, silicon, replay, tmp_path):
    program = replay("cp2k/label.inp", "cp2k/label.out.gz")
    with pytest.raises(UnconvergedLabelError, match=r"exit code 3 in .*the input differs"):
        with_command(cp2k, program).label(silicon, tmp_path)


@pytest.mark.parametrize(
    ("cut", "kind", "message"),
    [
        ("PROGRAM ENDED AT", UnconvergedLabelError, "come to its end"),
        ("ENERGY| Total", LabelError, "no converged energy"),
        ("ATOMIC FORCES", LabelError, "0 of 2 atoms"),
        ("STRESS| Analytical", LabelError, "no analytical stress"),
    ],
)
def test_incomplete_output_is_an_error(recorded, cut, kind, message):
    text = recorded("cp2k/label.out.gz").replace(cut, "")
    with pytest.raises(kind, match=message):
        parse_cp2k_output(text, n_atoms=2)


def test_helpers_change_mixing_alone(cp2k, rattled):
    mesh = cp2k.kpoints.mesh(rattled)
    given = cp2k.input_text(rattled, mesh).splitlines()
    for rung in cp2k.ladder()[1:]:
        other = cp2k.input_text(rattled, mesh, helpers=rung.changed).splitlines()
        changed = {line.split()[0] for line in set(given) ^ set(other)}
        assert changed <= {"METHOD", "ALPHA", "NBROYDEN", "MAX_SCF"}
        assert changed


def test_physics_ignores_helpers_and_command_and_holds_the_data(cp2k, cp2k_data):
    physics = cp2k.physics()
    assert dataclasses.replace(cp2k, max_scf=500, command="x").physics() == physics
    assert dataclasses.replace(cp2k, cutoff_Ry=400.0).physics() != physics
    assert dataclasses.replace(cp2k, smearing_temperature_K=0.0).physics() != physics
    file = cp2k_data / "GTH_POTENTIALS"
    file.write_text(file.read_text().replace("S GTH", "S OTHER"))
    assert cp2k.physics() == physics
    file.write_text(file.read_text().replace("0.44", "0.45"))
    assert cp2k.physics() != physics


def test_data_entry_is_found_by_name_or_alias_without_comments(cp2k_data):
    expected = "Si DZVP-MOLOPT-SR-GTH-q4\n1\n2 0 1 1 2\n1.5 0.1"
    assert data_entry(cp2k_data, "BASIS_MOLOPT", "Si", "DZVP-MOLOPT-SR-GTH-q4") == expected
    assert data_entry(cp2k_data, "BASIS_MOLOPT", "S", "DZVP-MOLOPT-SR-GTH").endswith("\n9")


def test_missing_data_are_refused_with_what_there_is(cp2k, cp2k_data):
    with pytest.raises(LabelError, match=r"no `NONE` for Si; it has DZVP-MOLOPT-SR-GTH, TZVP"):
        data_entry(cp2k_data, "BASIS_MOLOPT", "Si", "NONE")
    with pytest.raises(LabelError, match="NEPAL_CP2K_DATA_DIRECTORY"):
        data_entry(cp2k_data, "BASIS_UZH", "Si", "NONE")
    with pytest.raises(LabelError, match="nothing for it"):
        with_command(cp2k, "true").check(["Ge"])


def test_missing_program_is_refused_before_any_label(cp2k):
    with pytest.raises(LabelError, match=r"`no-such-cp2k` cannot be found.*NEPAL_CP2K_COMMAND"):
        with_command(cp2k, "no-such-cp2k -x").check(["Si"])
    with_command(cp2k, "true").check(["Si"])


def test_labeler_survives_json(cp2k):
    assert Cp2kLabeler.from_dict(cp2k.as_dict()) == cp2k


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (
            Electrons({"Si": 1.5}),
            {"UKS T", "MAGNETIZATION 1.5"},
        ),
        (
            Electrons(dispersion="D3-BJ"),
            {"TYPE DFTD3(BJ)", "REFERENCE_FUNCTIONAL PBE", "PARAMETER_FILE_NAME dftd3.dat"},
        ),
        (Electrons(dispersion="D3"), {"TYPE DFTD3"}),
        (Electrons(charge_e=-1.0), {"CHARGE -1"}),
    ],
)
def test_spin_dispersion_and_charge_reach_the_input_and_the_physics(cp2k, rattled, asked, lines):
    mesh = cp2k.kpoints.mesh(rattled)
    other = dataclasses.replace(cp2k, electrons=asked)
    given = [line.strip() for line in other.input_text(rattled, mesh).splitlines()]
    plain = [line.strip() for line in cp2k.input_text(rattled, mesh).splitlines()]
    assert lines <= set(given) - set(plain)
    assert set(plain) <= set(given)
    assert other.physics() != cp2k.physics()
    assert Cp2kLabeler.from_dict(other.as_dict()) == other


def test_part_of_a_charge_is_refused(cp2k, rattled):
    other = dataclasses.replace(cp2k, electrons=Electrons(charge_e=0.5))
    with pytest.raises(LabelError, match="charges are whole"):
        other.input_text(rattled, cp2k.kpoints.mesh(rattled))
