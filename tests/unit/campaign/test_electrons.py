"""VASP campaigns, and spin, DFT+U, dispersion and charge as keys of every DFT code."""

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from nepal_flows.campaign import Cp2kLabels, VaspLabels, load_campaign
from nepal_flows.campaign.forecast import label_seconds
from nepal_flows.campaign.init import init_campaign
from nepal_flows.campaign.plan import build_plan
from nepal_flows.cli.plan_output import label_input, labels_problem
from nepal_flows.errors import CampaignError


@pytest.fixture
def iron(folder):
    """Return a function that writes an iron campaign with these keys of its labels section."""
    write(folder / "Fe.vasp", bulk("Fe"))

    def written(code, **keys):
        upf = folder / "upf"
        upf.mkdir(exist_ok=True)
        (upf / "Fe.pbe.UPF").write_text('<PP_HEADER element="Fe" z_valence="8.0"/>')
        path = folder / "iron.yaml"
        init_campaign([folder / "Fe.vasp"], path, code=code, pseudo_dir=upf, overwrite=True)
        content = yaml.safe_load(path.read_text())
        content["labels"].update(keys)
        path.write_text(yaml.safe_dump(content))
        return path

    return written


def test_vasp_campaign_can_be_planned_without_a_licence(folder, monkeypatch):
    monkeypatch.setenv("NEPAL_VASP_POTCAR_SPEC", "true")
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "true")
    init_campaign([folder / "Si.vasp"], folder / "new.yaml", code="vasp")
    loaded = load_campaign(folder / "new.yaml")
    assert isinstance(loaded.campaign.labels, VaspLabels)
    plan = build_plan(loaded.campaign, loaded.structures)
    assert plan.errors == ()
    text = label_input(loaded, plan.sample)
    assert "ENCUT = 520" in text
    assert "Gamma" in text
    assert "POTCAR (PBE_54)\nSi" in text
    assert labels_problem(loaded) is None


def test_moments_are_suggested_for_magnetic_elements(folder):
    write(folder / "Fe.vasp", bulk("Fe"))
    path = folder / "new.yaml"
    init_campaign([folder / "Fe.vasp"], path, code="vasp")
    text = path.read_text()
    commented = "# magnetic_moments_uB: {Fe: 3.0}"
    assert commented in text
    path.write_text(text.replace(commented, commented[2:]))
    loaded = load_campaign(path)
    assert loaded.campaign.labels.magnetic_moments_uB == {"Fe": 3.0}
    sample = build_plan(loaded.campaign, loaded.structures).sample
    assert f"MAGMOM = {sample.n_atoms}*3.0" in label_input(loaded, sample)


@pytest.mark.parametrize("code", ["vasp", "cp2k", "espresso"])
def test_keys_are_the_same_for_every_code(iron, code):
    given = {"magnetic_moments_uB": {"Fe": 2.2}, "dispersion": "D3-BJ", "charge_e": 1}
    labels = load_campaign(iron(code, **given)).campaign.labels
    assert labels.magnetic_moments_uB == {"Fe": 2.2}
    assert (labels.dispersion, labels.charge_e) == ("D3-BJ", 1.0)


@pytest.mark.parametrize(
    ("code", "keys", "message"),
    [
        ("vasp", {"magnetic_moments_uB": {"Ni": 1.0}}, "names Ni, which the campaign has not"),
        ("vasp", {"hubbard_U_eV": {"Fe": 4.0}}, "write element and shell as in `Fe-3d`"),
        ("vasp", {"hubbard_U_eV": {"Fe-3d": 4.0, "Fe-4p": 1.0}}, "two shells"),
        ("vasp", {"user_incar_settings": {"kspacing": 0.2}}, "not taken: k-points follow from"),
        ("vasp", {"functional": "r2SCAN", "dispersion": "D3"}, "no parameters for r2SCAN in VASP"),
        ("espresso", {"hubbard_U_eV": {"Fe-3d": 4.0}}, "another input in every version of pw.x"),
        ("cp2k", {"hubbard_U_eV": {"Fe-3d": 4.0}}, "not there in CP2K with k-points"),
        ("cp2k", {"charge_e": 0.5}, "CP2K's charges are whole"),
        ("cp2k", {"dispersion": "D4"}, "'D3'"),
        (
            "cp2k",
            {"magnetic_moments_uB": {"Fe": 2.2}, "smearing_temperature_K": 0},
            "needs smearing in CP2K",
        ),
    ],
)
def test_what_a_code_cannot_do_is_refused(iron, code, keys, message):
    path = iron(code, **keys)
    with pytest.raises(CampaignError, match=message):
        load_campaign(path)


def test_charge_of_cells_of_several_sizes_is_warned_of(iron):
    loaded = load_campaign(iron("vasp", charge_e=1))
    problems = build_plan(loaded.campaign, loaded.structures).problems
    assert [p.place for p in problems if "charge" in p.place] == ["labels.charge_e"]


def test_forecast_knows_vasp_and_spin():
    def seconds(labels):
        return label_seconds(labels, n_atoms=16, n_kpoints=4, valences={"Fe": 8.0})

    given = {"code": "vasp", "magnetic_moments_uB": {"Fe": 2.2}}
    assert seconds(VaspLabels(**given)) == 2.0 * seconds(VaspLabels(code="vasp")) > 10.0
    assert seconds(VaspLabels(code="vasp", encut_eV=400.0)) < seconds(VaspLabels(code="vasp"))
    assert seconds(Cp2kLabels(**{**given, "code": "cp2k"})) == 2.0 * seconds(
        Cp2kLabels(code="cp2k")
    )


def with_moments(folder, *moments):
    """Let the starting structure be a cubic cell of iron with these moments of its atoms."""
    atoms = bulk("Fe", cubic=True)
    atoms.set_initial_magnetic_moments(moments)
    write(folder / "Fe.xyz", atoms)
    return {"structures": ["Fe.xyz"]}


def changed(path, **content):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | content))
    return path


@pytest.mark.parametrize("code", ["vasp", "cp2k", "espresso"])
def test_antiferromagnet_is_refused_with_its_moments(iron, folder, code):
    path = changed(iron(code), **with_moments(folder, 2.2, -2.2))
    with pytest.raises(CampaignError, match=r"\(Fe -2.2 and 2.2\).*antiferromagnets cannot"):
        load_campaign(path)


def test_moments_of_a_file_must_be_those_that_labels_begin_with(iron, folder):
    moments = with_moments(folder, 2.2, 2.2)
    with pytest.raises(CampaignError, match=r"\(Fe 2.2\) that `labels.magnetic_moments_uB`"):
        load_campaign(changed(iron("vasp"), **moments))
    agreeing = iron("vasp", magnetic_moments_uB={"Fe": 2.2})
    assert load_campaign(changed(agreeing, **moments)).campaign.structures


def test_ferrimagnet_has_moments_of_either_sign_by_element(iron):
    labels = load_campaign(iron("vasp", magnetic_moments_uB={"Fe": -2.2})).campaign.labels
    assert labels.magnetic_moments_uB == {"Fe": -2.2}
