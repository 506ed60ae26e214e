"""VASP's input says what the campaign asks for, and its output is read in our units and signs.

The programs are stand-ins: one computes a tight-binding solid and writes VASP's files, one replays
outputs that VASP 6.4.2 wrote. Both check their input first.
"""

import dataclasses
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import SETTINGS
from tight_binding import solve
from vasp_recordings import N_STEPS, recorded_structure, write_static_run

from nepal_flows.engines.pool import WorkerPool
from nepal_flows.errors import LabelError
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.labelers import (
    CorruptOutputError,
    CrashedLabelError,
    Electrons,
    HarmfulCorrectionError,
    KPointRule,
    LabelGate,
    UnconvergedLabelError,
    VaspLabeler,
    gated_label,
    label_document,
    label_structures,
)
from nepal_flows.labelers.vasp_inputs import changed_physics, pymatgen_structure
from nepal_flows.labelers.vasp_output import read_vasp_output
from nepal_flows.labelers.vasp_run import OwnedVaspJob
from nepal_flows.records import BlobDirectory, Blobs, settings_key
from nepal_flows.schemas import Ancestry

STANDINS = Path(__file__).parents[2] / "standins"
KBAR = 1602.1766208
"""1 eV/Å^3 in kbar."""


def standin(*options: str) -> str:
    return shlex.join([sys.executable, str(STANDINS / "vasp.py"), *options])


@pytest.fixture
def vasp() -> VaspLabeler:
    return VaspLabeler(
        KPointRule("spacing", spacing=0.8),
        ["Au", "Cu"],
        command=standin(),
        smearing_temperature_K=4000.0,
        potcar_spec=True,
    )


@pytest.fixture
def alloy() -> Atoms:
    """Return four atoms whose elements alternate, so that VASP's order is another one."""
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[[0, 2]] = "Au"
    atoms.rattle(0.1, seed=2)
    return atoms


@pytest.fixture
def label(tmp_path):
    """Return a function that labels in a directory of its own, and says where."""

    def run(labeler, atoms, **options):
        run.n += 1
        run.directory = tmp_path / f"run-{run.n}"
        run.directory.mkdir()
        return labeler.label(structure_from_atoms(atoms), run.directory, **options)

    run.n = 0
    return run


def solved(atoms: Atoms, labeler: VaspLabeler):
    mesh = labeler.kpoints.mesh(structure_from_atoms(atoms))
    rows = mesh.points()
    width = 8.617333262e-5 * labeler.smearing_temperature_K
    return solve(atoms.positions, atoms.cell.array, rows[:, :3], rows[:, 3], round(width, 8))


def test_label_is_in_our_units_signs_and_order(vasp, alloy, label):
    raw, truth = label(vasp, alloy), solved(alloy, vasp)
    assert raw.energy == pytest.approx(truth.free_energy, abs=1e-7)
    np.testing.assert_allclose(raw.forces, truth.forces, atol=1e-7)
    np.testing.assert_allclose(raw.virial, -truth.stress * alloy.get_volume(), atol=1e-6)
    assert raw.version == "VASP 6.4.2"
    assert raw.info["k_grid"] == [3, 3, 3]
    assert raw.info["potcars"] == ["PAW_PBE Cu 01Jan2000", "PAW_PBE Au 01Jan2000"]
    assert raw.info["energy_sigma0_eV"] == pytest.approx(raw.energy - 0.5 * truth.entropy_term)
    assert raw.corrections == ()
    assert gated_label(structure_from_atoms(alloy), raw, LabelGate()).energy == raw.energy


def test_files_are_those_that_vasp_wants(vasp, alloy, label):
    label(vasp, alloy)
    poscar = (label.directory / "POSCAR").read_text().splitlines()
    assert (poscar[5].split(), poscar[6].split()) == (["Cu", "Au"], ["2", "2"])
    assert (label.directory / "POTCAR.spec").read_text().split() == ["Cu", "Au"]
    assert (label.directory / "KPOINTS").read_text().splitlines()[2:4] == ["Gamma", "3 3 3"]
    incar = (label.directory / "INCAR").read_text().splitlines()
    assert {"ISYM = 0", "ISMEAR = -1", "GGA = Pe", "ENCUT = 520.0", "EDIFF = 1e-06"} <= set(incar)
    assert "LDAU = False" in incar  # atomate2's set would add a U to oxides alone


def test_compressed_crystal_has_a_positive_virial(vasp, label):
    atoms = bulk("Cu", cubic=True, a=3.3)
    assert np.trace(label(vasp, atoms).virial) > 1.0


def test_forces_are_the_gradient_of_the_stored_energy_with_smearing(vasp, alloy, label):
    step, energies, others = 0.01, [], []
    for sign in (1, -1):
        moved = alloy.copy()
        moved.positions[1, 0] += sign * step
        raw = label(vasp, moved)
        energies.append(raw.energy)
        others.append(raw.info["energy_sigma0_eV"])
    force = label(vasp, alloy).forces[1, 0]
    assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(force, abs=2e-4)
    assert abs(-(others[0] - others[1]) / (2 * step) - force) > 5e-3  # energy(sigma->0)


def test_net_force_is_judged_from_the_drift_that_vasp_takes_off(vasp, alloy, label):
    raw = label(dataclasses.replace(vasp, command=standin("--drift", "0.05")), alloy)
    assert np.abs(raw.forces.sum(axis=0)).max() < 1e-6
    structure = structure_from_atoms(alloy)
    with pytest.raises(LabelError, match=r"net force .* is 0\.025 eV/Å"):
        gated_label(structure, raw, LabelGate(max_net_force=0.01))
    gated_label(structure, raw, LabelGate(max_net_force=0.03))


@pytest.mark.parametrize("step", range(N_STEPS))
def test_recorded_output_of_vasp_is_read_in_our_units(tmp_path, label, step):
    recording = tmp_path / "recording"
    write_static_run(recording, step)
    raw = label(of_recording(recording), ase_atoms(recorded_structure(recording)))
    energies = [-10.83820748, -10.84014101, -10.84147289]
    pressures = [-14.6746007, 10.1258018, -0.4813514]  # kbar, as the OUTCAR says
    volume = recorded_structure(recording).volume
    assert raw.energy == energies[step]
    assert np.trace(raw.virial) / 3 == pytest.approx(pressures[step] / KBAR * volume, rel=1e-6)
    assert raw.info["moment_uB"] == pytest.approx(0.0, abs=1e-3)
    assert raw.info["potcars"] == ["PAW_PBE Si 05Jan2001"]
    np.testing.assert_allclose(raw.forces, 0.0, atol=1e-6)


def test_recorded_pressure_of_vasp_is_the_slope_of_its_energy(tmp_path, label):
    raws, volumes = [], []
    for step in (1, 2):
        recording = tmp_path / f"recording-{step}"
        write_static_run(recording, step)
        raws.append(label(of_recording(recording), ase_atoms(recorded_structure(recording))))
        volumes.append(recorded_structure(recording).volume)
    mean = sum(np.trace(raw.virial) / 3 / v for raw, v in zip(raws, volumes, strict=True)) / 2
    change = raws[1].energy - raws[0].energy
    assert volumes[0] < volumes[1]  # the first cell is the compressed one
    assert change == pytest.approx(-mean * (volumes[1] - volumes[0]), rel=0.05)


def of_recording(recording: Path) -> VaspLabeler:
    """Return the labeler whose input is that of the recorded run."""
    return VaspLabeler(
        KPointRule("spacing", spacing=0.3),
        ["Si"],
        ediff_eV=1e-4,
        smearing_temperature_K=None,
        electrons=Electrons({"Si": 0.6}),
        user_incar_settings={"ISMEAR": 0, "SIGMA": 0.11151019, "LREAL": "Auto"},
        command=shlex.join([sys.executable, str(STANDINS / "vasp_replay.py"), str(recording)]),
        potcar_spec=True,
    )


def ase_atoms(structure) -> Atoms:
    return Atoms(
        [site.specie.symbol for site in structure],
        positions=structure.cart_coords,
        cell=structure.lattice.matrix,
        pbc=True,
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"encut_eV": 400.0},
        {"electrons": Electrons()},
        {"user_potcar_settings": {"Si": "Si_GW"}},
        {"kpoints": KPointRule("spacing", spacing=0.4)},
    ],
)
def test_other_input_than_recorded_is_refused(tmp_path, label, changed):
    recording = tmp_path / "recording"
    write_static_run(recording, 0)
    labeler = dataclasses.replace(of_recording(recording), **changed)
    with pytest.raises(CrashedLabelError, match="the input differs"):
        label(labeler, ase_atoms(recorded_structure(recording)))


@pytest.mark.parametrize(
    ("failure", "kind", "message"),
    [
        ("unconverged", UnconvergedLabelError, "did not converge"),
        ("crash", CrashedLabelError, "segmentation fault"),
        ("truncated", CorruptOutputError, "not whole|no readable vasprun"),
        ("other-atoms", CorruptOutputError, "other places"),
        ("moved-energy", CorruptOutputError, "two runs"),
    ],
)
def test_failures_are_told_apart(vasp, alloy, label, failure, kind, message):
    with pytest.raises(kind, match=message) as caught:
        label(dataclasses.replace(vasp, command=standin("--fail", failure)), alloy)
    assert type(caught.value) is kind


def test_program_that_cannot_start_is_told(vasp, alloy, label):
    with pytest.raises(LabelError, match="cannot be started"):
        label(dataclasses.replace(vasp, command="/no/such/vasp"), alloy)


def test_harmless_correction_is_recorded_and_kept(vasp, alloy, label):
    command = standin("--fail", "bands", "--times", "1")
    raw = label(dataclasses.replace(vasp, command=command), alloy)
    (correction,) = raw.corrections
    assert correction.handler == "VaspErrorHandler"
    assert correction.errors == ["too_few_bands"]
    assert correction.actions == [{"dict": "INCAR", "action": {"_set": {"NBANDS": 17}}}]
    assert raw.energy == pytest.approx(solved(alloy, vasp).free_energy, abs=1e-7)


def test_correction_of_the_physics_is_refused(vasp, alloy, label):
    command = standin("--fail", "tetrahedron", "--unless", "ISMEAR=0")
    with pytest.raises(HarmfulCorrectionError, match=r"ISMEAR: -1 -> 0; SIGMA") as caught:
        label(dataclasses.replace(vasp, command=command), alloy)
    assert caught.value.corrections[0].errors == ["tet"]


def test_corrections_are_in_the_document(vasp, alloy, pool, tmp_path):
    blobs = Blobs(BlobDirectory(tmp_path / "blobs"))
    documents = []
    for options in (
        ["--fail", "bands", "--times", "1"],
        ["--fail", "tetrahedron", "--unless", "ISMEAR=0"],
        [],
    ):
        labeler = dataclasses.replace(vasp, command=standin(*options))
        (outcome,) = label_structures(labeler, [structure_from_atoms(alloy)], pool=pool)
        ancestry = Ancestry(source="seed")
        documents.append(label_document(outcome, labeler=labeler, ancestry=ancestry, blobs=blobs))
    harmless, harmful, none = documents
    assert (harmless.status, harmless.correction_effect) == ("done", "harmless")
    assert (harmful.status, harmful.correction_effect) == ("quarantined", "harmful")
    assert [a.failure for a in harmful.attempts] == ["harmful_correction"]
    assert [c.errors for c in harmful.corrections] == [["tet"]]
    assert (none.status, none.correction_effect, none.corrections) == ("done", None, [])
    assert harmless.settings_key == none.settings_key
    assert none.inputs["used"]["potcars"] == ["PAW_PBE Cu 01Jan2000", "PAW_PBE Au 01Jan2000"]


def test_failed_label_is_tried_again_with_other_mixing(vasp, alloy, pool):
    command = standin("--fail", "unconverged", "--unless", "AMIX=0.1")
    labeler = dataclasses.replace(vasp, command=command)
    (outcome,) = label_structures(labeler, [structure_from_atoms(alloy)], pool=pool)
    assert outcome.label is not None
    assert [a.failure for a in outcome.attempts] == ["not_converged", None]
    assert outcome.attempts[1].changed["AMIX"] == 0.1


def pids_in(file: Path, timeout_s: float = 60.0) -> list[psutil.Process]:
    limit = time.monotonic() + timeout_s
    while not file.exists() or not file.read_text():
        assert time.monotonic() < limit, "the stand-in did not start"
        time.sleep(0.05)
    return [psutil.Process(int(pid)) for pid in file.read_text().split()]


def test_label_at_its_time_limit_leaves_no_vasp_behind(vasp, alloy, tmp_path, monkeypatch):
    monkeypatch.setenv("STANDIN_PIDS", str(tmp_path / "pids"))
    frozen = dataclasses.replace(vasp, command=standin("--fail", "frozen"))
    structure = structure_from_atoms(alloy)
    with WorkerPool(1) as pool:
        label_structures(vasp, [structure], pool=pool)  # what is imported once is imported now
        (outcome,) = label_structures(frozen, [structure], pool=pool, time_limit_s=5.0)
    started = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(started) == 2
    limit = time.monotonic() + 10.0
    while any(psutil.pid_exists(pid) for pid in started) and time.monotonic() < limit:
        time.sleep(0.05)
    assert not [pid for pid in started if psutil.pid_exists(pid)]
    assert [attempt.failure for attempt in outcome.attempts] == ["timeout"]  # and no more tries


def test_only_our_own_vasp_is_ended(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(60)", "vasp_std"]
    ours = OwnedVaspJob(command, auto_gamma=False)
    process = ours.run(str(tmp_path))
    with subprocess.Popen(command) as neighbour:
        ours.terminate()
        assert process.wait(timeout=10) != 0
        assert ours.exit_code == process.returncode
        assert neighbour.poll() is None
        neighbour.kill()


def test_processes_that_vasp_started_end_with_it(tmp_path):
    script = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "open('pids', 'w').write(str(child.pid)); time.sleep(60)"
    )
    job = OwnedVaspJob([sys.executable, "-c", script], auto_gamma=False)
    process = job.run(str(tmp_path))
    (child,) = pids_in(tmp_path / "pids")
    job.terminate()
    process.wait(timeout=10)
    assert not psutil.wait_procs([child], timeout=5.0)[1]


@pytest.mark.parametrize(
    "changed",
    [
        {"encut_eV": 400.0},
        {"functional": "PBEsol"},
        {"smearing_temperature_K": 300.0},
        {"electrons": Electrons({"Cu": 1.0})},
        {"electrons": Electrons(hubbard_U_eV={"Cu-3d": 4.0})},
        {"electrons": Electrons(dispersion="D3")},
        {"electrons": Electrons(dispersion="D3-BJ")},
        {"electrons": Electrons(charge_e=1.0)},
        {"user_incar_settings": {"LASPH": False}},
        {"user_potcar_settings": {"Cu": "Cu_pv"}},
        {"user_potcar_functional": "PBE_64"},
        {"kpoints": KPointRule("spacing", spacing=0.3)},
        {"input_set": "MPStaticSet"},
    ],
)
def test_physics_holds_what_the_label_depends_on(vasp, changed):
    other = dataclasses.replace(vasp, **changed)
    assert settings_key(other.physics()) != settings_key(vasp.physics())


def test_physics_ignores_how_the_answer_is_found(vasp):
    key = settings_key(vasp.physics())
    for changed in (
        {"command": "srun vasp_std"},
        {"user_incar_settings": {"ALGO": "All", "NCORE": 4, "NELM": 60, "AMIX": 0.2}},
        {"user_incar_settings": {"ENCUT": 520}},
        {"max_net_force": 0.5},
    ):
        assert settings_key(dataclasses.replace(vasp, **changed).physics()) == key
    for rung in vasp.ladder():
        assert changed_physics({}, rung.changed) == []


def test_user_incar_settings_win_and_none_takes_away(vasp, alloy):
    labeler = dataclasses.replace(
        vasp, user_incar_settings={"ENCUT": 400, "PREC": "Normal", "LASPH": None, "NCORE": 4}
    )
    structure = structure_from_atoms(alloy)
    text = labeler.input_text(structure, labeler.kpoints.mesh(structure))
    assert "ENCUT = 400" in text
    assert "PREC = Normal" in text
    assert "NCORE = 4" in text
    assert "LASPH" not in text
    assert "KPOINTS" in text
    assert "POTCAR (PBE_54)\nCu\nAu" in text


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"KSPACING": 0.2}, "labels.kpoints"),
        ({"nsw": 5}, "one self-consistent calculation"),
        ({"MAGMOM": [1, 1]}, "magnetic_moments_uB"),
        ({"LDAUU": {"Cu": 3}}, "hubbard_U_eV"),
        ({"PSTRESS": 10}, "stress of every label"),
        ({"ICHARG": 11}, "not self-consistent"),
        ({"LSORBIT": True}, "collinear"),
    ],
)
def test_entries_that_the_campaign_says_itself_are_refused(vasp, entries, message):
    with pytest.raises(LabelError, match=message):
        dataclasses.replace(vasp, user_incar_settings=entries).physics()


def test_site_may_choose_parallelism_but_no_physics(vasp, alloy, monkeypatch, tmp_path):
    file = tmp_path / "atomate2.yaml"
    monkeypatch.setenv("ATOMATE2_CONFIG_FILE", str(file))
    structure = structure_from_atoms(alloy)
    file.write_text("VASP_INCAR_UPDATES: {NCORE: 8, KPAR: 2}\n")
    key = settings_key(vasp.physics())
    assert "NCORE = 8" in vasp.input_text(structure, vasp.kpoints.mesh(structure))
    file.write_text("VASP_INCAR_UPDATES: {NCORE: 4}\n")
    assert settings_key(vasp.physics()) == key
    file.write_text("VASP_INCAR_UPDATES: {NCORE: 4, ENCUT: 600}\n")
    with pytest.raises(LabelError, match="hold ENCUT, which change"):
        vasp.physics()


def test_spin_and_hubbard_reach_vasp_in_its_order(vasp, alloy, label):
    asked = Electrons({"Cu": 0.0, "Au": 1.5}, {"Au-5d": 3.0}, "D3-BJ")
    raw = label(dataclasses.replace(vasp, electrons=asked), alloy)
    incar = (label.directory / "INCAR").read_text()
    for line in (
        "ISPIN = 2",
        "MAGMOM = 2*0.0 2*1.5",
        "LDAU = True",
        "LDAUL = -1 2",
        "LDAUU = 0 3.0",
        "LDAUTYPE = 2",
        "IVDW = 12",
    ):
        assert line in incar.splitlines()
    assert raw.info["moment_uB"] == 1.25


def test_unknown_input_set_is_refused(vasp):
    with pytest.raises(LabelError, match=r"no VASP input set `NoSet`.*StaticSetGenerator"):
        dataclasses.replace(vasp, input_set="NoSet").physics()


def test_missing_pieces_are_refused_before_any_label(vasp, monkeypatch):
    with pytest.raises(LabelError, match=r"`no-such-vasp` cannot be found.*ATOMATE2_VASP_CMD"):
        dataclasses.replace(vasp, command="no-such-vasp").check(["Cu"])
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_DIR", raising=False)
    with pytest.raises(LabelError, match=r"no POTCAR for Cu.*PMG_VASP_PSP_DIR"):
        dataclasses.replace(vasp, potcar_spec=False).check(["Cu"])
    vasp.check(["Cu", "Au"])


POTCAR = """ {title}
 {valence}.00000000000000
 parameters from PSCTR are:
   VRHFIN ={symbol}: made up
   LEXCH  = PE
   TITEL  = {title}
   ZVAL   =   {valence}.000
   ENMAX  =  200.000; ENMIN  =  150.000 eV
 END of PSCTR-controll parameters
 local part
  0.10000000E+01  0.20000000E+01  0.30000000E+01
 End of Dataset
"""


@pytest.fixture
def potcars(tmp_path, monkeypatch):
    """Tell pymatgen of a folder with made-up POTCARs, each with its element's valence."""
    folder = tmp_path / "potcars/POT_GGA_PAW_PBE_54"
    folder.mkdir(parents=True)
    for symbol, name, valence in (("Cu", "Cu", 11), ("Cu", "Cu_pv", 17), ("Au", "Au", 11)):
        text = POTCAR.format(symbol=symbol, title=f"PAW_PBE {name} 01Jan2000", valence=valence)
        (folder / f"POTCAR.{name}").write_text(text)
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(folder.parent))
    monkeypatch.delitem(SETTINGS, "PMG_VASP_PSP_SUB_DIRS", raising=False)
    return folder


def test_potcars_are_those_of_pymatgen_in_the_order_of_poscar(vasp, alloy, label, potcars):
    asked = dataclasses.replace(
        vasp, potcar_spec=False, user_potcar_settings={"Cu": "Cu_pv"}, input_set="MPStaticSet"
    )
    asked.check(["Cu", "Au"])
    raw = label(asked, alloy)
    text = (label.directory / "POTCAR").read_text()
    assert text.index("TITEL  = PAW_PBE Cu_pv") < text.index("TITEL  = PAW_PBE Au")
    assert not (label.directory / "POTCAR.spec").exists()
    assert raw.info["potcars"] == ["PAW_PBE Cu_pv 01Jan2000", "PAW_PBE Au 01Jan2000"]


def test_charge_becomes_a_number_of_electrons(vasp, alloy, label, potcars):
    charged = dataclasses.replace(vasp, potcar_spec=False, electrons=Electrons(charge_e=1.0))
    label(charged, alloy)
    assert "NELECT = 43.0" in (label.directory / "INCAR").read_text().splitlines()
    structure = structure_from_atoms(alloy)
    text = charged.input_text(structure, charged.kpoints.mesh(structure))
    assert "NELECT = that of the POTCARs - 1" in text


def test_charge_without_potcars_is_refused(vasp, alloy, label):
    with pytest.raises(LabelError, match="charge needs the POTCARs"):
        label(dataclasses.replace(vasp, electrons=Electrons(charge_e=1.0)), alloy)


def test_potcar_of_another_release_in_the_output_is_refused(vasp, alloy, label):
    other = dataclasses.replace(vasp, user_potcar_settings={"Cu": "Cu_pv"})
    label(other, alloy)
    (label.directory / "POTCAR.spec").write_text("Cu\nAu")
    output = read_vasp_output(
        label.directory, pymatgen_structure(structure_from_atoms(alloy), Electrons())
    )
    with pytest.raises(
        CorruptOutputError, match="used the POTCARs Cu_pv, Au, asked for were Cu, Au"
    ):
        vasp._check_potcars(output, ["Cu", "Au"])


def test_command_is_that_of_atomate2_where_none_is_given(vasp, alloy, monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "srun $MY_VASP")
    monkeypatch.setenv("MY_VASP", "/opt/vasp")
    mesh = vasp.kpoints.mesh(structure_from_atoms(alloy))
    assert dataclasses.replace(vasp, command=None)._command(mesh) == "srun /opt/vasp"
    assert vasp._command(mesh) == vasp.command


def test_labeler_survives_json(vasp):
    given = dataclasses.replace(
        vasp,
        electrons=Electrons({"Cu": 1.0}, {"Cu-3d": 4.0}, "D3", 1.0),
        user_incar_settings={"A": 1},
    )
    assert VaspLabeler.from_dict(given.as_dict()) == given
