"""A campaign's labels section and a site's settings make a labeler."""

import pytest

from nepal_flows.campaign.labels import AseLabels, Cp2kLabels, EspressoLabels, VaspLabels
from nepal_flows.errors import CampaignError
from nepal_flows.labelers import build_gate, build_labeler
from nepal_flows.settings import Settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(
        cp2k_command="site-cp2k",
        pw_command="site-pw.x",
        cp2k_data_directory=tmp_path,
        pseudo_directory=tmp_path,
    )


@pytest.fixture
def build(settings, silicon):
    def build(labels):
        return build_labeler(labels, primitive=silicon, elements=["Si"], settings=settings)

    return build


def test_ase_takes_calculator_and_arguments(build):
    labeler = build(AseLabels(calculator="lj", arguments={"sigma": 2.0}))
    assert labeler.physics()["arguments"] == {"sigma": 2.0}
    with pytest.raises(CampaignError, match="`emt`"):
        build(AseLabels(calculator="etm"))


def test_site_gives_programs_and_their_data(build, tmp_path):
    assert build(EspressoLabels(code="espresso")).command == "site-pw.x"
    assert build(EspressoLabels(code="espresso", command="site-pw.x")).command == "site-pw.x"
    assert build(EspressoLabels(code="espresso")).pseudo_directory == str(tmp_path)
    assert build(EspressoLabels(code="espresso", pseudo_dir="/p")).pseudo_directory == "/p"
    cp2k = build(Cp2kLabels(code="cp2k"))
    assert (cp2k.command, cp2k.data_directory) == ("site-cp2k", str(tmp_path))
    assert cp2k.elements == ("Si",)


def test_every_option_of_a_code_reaches_its_labeler(build):
    given = EspressoLabels(
        code="espresso",
        pseudopotentials={"Si": "a.UPF"},
        ecutwfc_Ry=42.0,
        ecutrho_Ry=300.0,
        smearing_temperature_K=500.0,
        conv_thr_Ry=1e-8,
        mixing_beta=0.3,
        input_data={"system": {"vdw_corr": "d3"}},
        kpoints={"mode": "spacing", "spacing_per_A": 0.25, "offset": [False, False, False]},
        max_net_force_eV_per_A=0.5,
    )
    lists = build(given).namelists({})
    assert lists["system"]["ecutwfc"] == 42.0
    assert lists["system"]["ecutrho"] == 300.0
    assert lists["system"]["vdw_corr"] == "d3"
    assert lists["system"]["degauss"] == pytest.approx(0.00316681, abs=1e-7)
    assert lists["electrons"] == {"conv_thr": 1e-8, "mixing_beta": 0.3}
    assert build(given).kpoints.physics()["spacing_per_A"] == 0.25
    assert build(given).max_net_force == 0.5
    cp2k = build(Cp2kLabels(code="cp2k", cutoff_Ry=400, rel_cutoff_Ry=50, eps_scf=1e-6, max_scf=9))
    assert (cp2k.cutoff_Ry, cp2k.rel_cutoff_Ry, cp2k.eps_scf, cp2k.max_scf) == (400, 50, 1e-6, 9)


def test_gate_has_the_limits_of_the_code_or_of_the_campaign():
    assert build_gate(Cp2kLabels(code="cp2k")).max_net_force == 0.005
    gate = build_gate(AseLabels(max_net_force_eV_per_A=0.2, max_force_eV_per_A=30.0))
    assert (gate.max_net_force, gate.max_force) == (0.2, 30.0)


@pytest.mark.parametrize("name", ["ase.calculators.emt:EMT", "os:system", "ase.nothing:X"])
def test_import_path_is_refused_unless_the_site_allows_it(build, name):
    with pytest.raises(CampaignError, match=r"may not import code.*`calculators: \["):
        build(AseLabels(calculator=name))


@pytest.mark.parametrize("allowed", ["ase.calculators.emt:EMT", "ase.calculators.emt", "ase"])
def test_site_allows_a_class_a_module_or_a_package(silicon, allowed):
    settings = Settings(calculators=(allowed,))
    labels = AseLabels(calculator="ase.calculators.emt:EMT")
    assert build_labeler(labels, primitive=silicon, elements=["Si"], settings=settings)
    with pytest.raises(CampaignError, match="has not allowed"):
        build_labeler(
            AseLabels(calculator="asepackage.emt:EMT"),
            primitive=silicon,
            elements=["Si"],
            settings=settings,
        )


def test_refused_import_path_is_never_imported(build, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CampaignError, match="may not import"):
        build(AseLabels(calculator="evil:Calculator"))


@pytest.mark.parametrize("name", ["command", "castep_command"])
def test_command_of_a_calculator_is_the_sites(build, name):
    with pytest.raises(CampaignError, match=f"gives a `{name}`"):
        build(AseLabels(calculator="abinit", arguments={name: "rm -r /"}))


def test_calculator_that_runs_commands_of_its_own_language_must_be_allowed(build):
    with pytest.raises(CampaignError, match="has not allowed"):
        build(AseLabels(calculator="LAMMPSlib", arguments={"lmpcmds": ["shell rm -r /"]}))


@pytest.mark.parametrize(
    "labels",
    [
        EspressoLabels(code="espresso", command="sh -c 'rm -r /'"),
        Cp2kLabels(code="cp2k", command="sh -c 'rm -r /'"),
        VaspLabels(code="vasp", command="sh -c 'rm -r /'"),
        VaspLabels(code="vasp", gamma_command="sh -c 'rm -r /'"),
    ],
    ids=["pw.x", "CP2K", "VASP", "VASP at the zone centre"],
)
def test_campaign_file_runs_no_program_that_the_site_has_not_allowed(build, silicon, labels):
    with pytest.raises(CampaignError, match=r"may not run a program.*`commands: \["):
        build(labels)
    site = Settings(commands=("sh -c 'rm -r /'",))
    assert build_labeler(labels, primitive=silicon, elements=["Si"], settings=site)
