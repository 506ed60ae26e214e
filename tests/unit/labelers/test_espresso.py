"""pw.x's input says what was checked, and its output is read with the right units and signs."""

import dataclasses

import numpy as np
import pytest

from nepal_flows.errors import LabelError
from nepal_flows.labelers import Electrons, EspressoLabeler, UnconvergedLabelError


def with_command(labeler, command):
    return dataclasses.replace(labeler, command=command)


def test_recorded_run_is_read_in_our_units(espresso, rattled, replay, tmp_path):
    program = replay("espresso/espresso.pwi", "espresso/espresso.pwo.gz")
    raw = with_command(espresso, program).label(rattled, tmp_path)
    assert raw.energy == pytest.approx(-213.99877552702782, abs=1e-5)
    assert raw.forces[0] == pytest.approx([-1.50516441, 0.57407154, -0.81670346], abs=1e-6)
    assert raw.virial[0, 1] == pytest.approx(0.34551381, abs=1e-5)
    np.testing.assert_array_equal(raw.virial, raw.virial.T)
    assert raw.info == {"k_grid": [4, 4, 4], "scf_steps": 7}
    assert raw.version == "pw.x 6.7MaX"


def test_unconverged_run_may_be_tried_again(espresso, rattled, replay, tmp_path):
    program = replay("espresso/espresso.pwi", "espresso/unconverged.pwo.gz", code=2)
    with pytest.raises(UnconvergedLabelError, match=r"exit code 2.*NOT achieved after   2"):
        with_command(espresso, program).label(rattled, tmp_path)


def test_unconverged_run_is_noticed_without_an_exit_code(espresso, rattled, replay, tmp_path):
    program = replay("espresso/espresso.pwi", "espresso/unconverged.pwo.gz", code=0)
    with pytest.raises(UnconvergedLabelError, match="did not converge"):
        with_command(espresso, program).label(rattled, tmp_path)


def test_failed_run_tells_command_code_and_reason(espresso, silicon, replay, tmp_path):
    program = replay("espresso/espresso.pwi", "espresso/espresso.pwo.gz")
    with pytest.raises(UnconvergedLabelError, match=r"exit code 3 in .*the input differs"):
        with_command(espresso, program).label(silicon, tmp_path)


def test_helpers_are_no_physics(espresso):
    physics = espresso.physics()
    for rung in espresso.ladder()[1:]:
        changed = dataclasses.replace(espresso, input_data={"electrons": rung.changed})
        assert changed.physics() == physics
    assert dataclasses.replace(espresso, command="mpirun pw.x").physics() == physics


@pytest.mark.parametrize(
    "changed",
    [
        {"ecutwfc_Ry": 40.0},
        {"ecutrho_Ry": 240.0},
        {"smearing_temperature_K": 300.0},
        {"smearing_temperature_K": 0.0},
        {"conv_thr_Ry": 1e-10},
        {"input_data": {"system": {"vdw_corr": "d3"}}},
    ],
)
def test_physics_holds_what_the_label_depends_on(espresso, changed):
    assert dataclasses.replace(espresso, **changed).physics() != espresso.physics()


def test_physics_holds_the_pseudopotential_itself(espresso, pseudo_directory):
    before = espresso.physics()
    (pseudo_directory / "Si.pbe-rrkj.UPF").write_text("   Si     Element\nother numbers\n")
    assert espresso.physics() != before


def test_pseudopotential_of_another_element_is_refused(espresso):
    wrong = dataclasses.replace(espresso, command="true", pseudopotentials={"Si": "C.pbe.UPF"})
    with pytest.raises(LabelError, match="pseudopotential of C, not of Si"):
        wrong.check(["Si"])
    dataclasses.replace(espresso, command="true").check(["Si"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pseudopotentials": {}}, r"Si has no pseudopotential.*Si\.pbe-rrkj\.UPF"),
        ({"pseudopotentials": {"Si": "Si.UPF"}}, r"`Si\.UPF` is not in .*Si\.pbe-rrkj\.UPF"),
        ({"pseudo_directory": None}, "NEPAL_PSEUDO_DIRECTORY"),
        ({"command": "no-such-pw.x"}, "NEPAL_PW_COMMAND"),
    ],
)
def test_missing_pieces_are_refused_before_any_label(espresso, changed, message):
    with pytest.raises(LabelError, match=message):
        dataclasses.replace(with_command(espresso, "true"), **changed).check(["Si"])


def test_labeler_survives_json(espresso):
    assert EspressoLabeler.from_dict(espresso.as_dict()) == espresso


@pytest.mark.parametrize(
    ("asked", "entries"),
    [
        (Electrons({"Si": 1.0}), {"nspin = 2", "starting_magnetization(1) = 0.25"}),
        (Electrons(dispersion="D3"), {"vdw_corr = 'dft-d3'", "dftd3_version = 3"}),
        (Electrons(dispersion="D3-BJ"), {"dftd3_version = 4", "dftd3_threebody = .false."}),
        (Electrons(charge_e=1.0), {"tot_charge = 1.0"}),
    ],
)
def test_spin_dispersion_and_charge_reach_the_input_and_the_physics(
    espresso, pseudo_directory, rattled, asked, entries
):
    (pseudo_directory / "Si.pbe-rrkj.UPF").write_text(
        '<PP_HEADER element="Si" z_valence="4.00"/>\n'
    )
    other = dataclasses.replace(espresso, electrons=asked)
    text = other.input_text(rattled, espresso.kpoints.mesh(rattled))
    lines = {" ".join(line.split()) for line in text.splitlines()}
    assert entries <= lines
    assert other.physics() != espresso.physics()
    assert EspressoLabeler.from_dict(other.as_dict()) == other
