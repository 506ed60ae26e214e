"""What `nepal init` writes: it is read back, and its rules hold."""

import pytest
from ase.build import bulk
from ase.io import write

from nepal_flows.campaign import AseLabels, Cp2kLabels, EspressoLabels, load_campaign
from nepal_flows.campaign.defaults import (
    suggested_cutoffs,
    suggested_grid,
    suggested_temperatures,
    suggested_time_step,
)
from nepal_flows.campaign.init import found_pseudopotentials, init_campaign
from nepal_flows.campaign.plan import build_plan
from nepal_flows.errors import CampaignError, InputError, StructureError
from nepal_flows.io.structures import read_structures


def upf(kind="NC", wfc=0.0, rho=0.0):
    """Return the text of a UPF file that is all header."""
    return f'<PP_HEADER pseudo_type="{kind}" wfc_cutoff="{wfc:.8E}" rho_cutoff="{rho:.8E}"/>'


@pytest.fixture
def pseudos(folder):
    (folder / "upf").mkdir()
    for name in ("Si.pbe-rrkj.UPF", "Si.pz-vbc.UPF", "Cu_pbe.upf"):
        (folder / "upf" / name).write_text(upf())
    return folder / "upf"


def labels_of(folder, structure, pseudos, **options):
    """Return the labels section that init writes, and the text of the file."""
    init_campaign([folder / structure], folder / "new.yaml", pseudo_dir=pseudos, **options)
    labels = load_campaign(folder / "new.yaml").campaign.labels
    return labels, (folder / "new.yaml").read_text()


def test_copper_is_labelled_by_emt(folder):
    init_campaign([folder / "Cu.vasp"], folder / "new.yaml")
    loaded = load_campaign(folder / "new.yaml")
    assert isinstance(loaded.campaign.labels, AseLabels)
    assert loaded.campaign.model.cutoff_A == (5.0, 4.0)
    assert loaded.campaign.name == "Cu"
    assert loaded.campaign.validation is not None
    assert build_plan(loaded.campaign, loaded.structures).errors == ()


def test_silicon_is_labelled_by_espresso_in_folded_cells(folder, pseudos):
    init_campaign([folder / "Si.vasp"], folder / "new.yaml", pseudo_dir=pseudos)
    loaded = load_campaign(folder / "new.yaml")
    labels = loaded.campaign.labels
    assert isinstance(labels, EspressoLabels)
    assert labels.pseudopotentials == {"Si": "Si.pbe-rrkj.UPF"}
    assert labels.kpoints.mode == "folded"
    assert loaded.campaign.seeds.mode == "folded"
    assert build_plan(loaded.campaign, loaded.structures).errors == ()


def test_without_pseudopotentials_cp2k_labels(folder, monkeypatch):
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(folder))
    monkeypatch.setattr("nepal_flows.campaign.init._PSEUDO_FOLDERS", ())
    init_campaign([folder / "Si.vasp"], folder / "new.yaml")
    loaded = load_campaign(folder / "new.yaml")
    assert isinstance(loaded.campaign.labels, Cp2kLabels)
    assert loaded.campaign.validation is None


def test_alloy_mixes_its_sites(folder):
    init_campaign([folder / "Cu.vasp", folder / "Au.vasp"], folder / "new.yaml", mixes=True)
    loaded = load_campaign(folder / "new.yaml")
    assert loaded.campaign.model.elements == ("Cu", "Au")
    assert loaded.campaign.seeds.mix.elements == ("Cu", "Au")
    plan = build_plan(loaded.campaign, loaded.structures)
    assert plan.errors == ()
    assert all(need.rows_per_label > 0 for need in plan.needs)


def test_slab_gets_no_barostat(folder):
    from ase.build import fcc111

    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    slab.info.clear()
    slab.pbc = (True, True, False)
    write(folder / "slab.xyz", slab)
    init_campaign([folder / "slab.xyz"], folder / "new.yaml")
    loaded = load_campaign(folder / "new.yaml")
    stages = [s for c in loaded.campaign.exploration.conditions for s in c.stages]
    assert {stage.ensemble for stage in stages} == {"nvt"}
    assert build_plan(loaded.campaign, loaded.structures).errors == ()


def test_slab_in_a_periodic_cell_gets_no_barostat_either(folder):
    from ase.build import fcc111

    write(folder / "slab.vasp", fcc111("Cu", (2, 2, 4), vacuum=8.0))
    init_campaign([folder / "slab.vasp"], folder / "new.yaml")
    loaded = load_campaign(folder / "new.yaml")
    stages = [s for c in loaded.campaign.exploration.conditions for s in c.stages]
    assert {stage.ensemble for stage in stages} == {"nvt"}
    assert loaded.campaign.validation is None


def test_folded_cells_are_confirmed_in_cells_thicker_than_the_cutoff(folder, pseudos):
    init_campaign([folder / "Si.vasp"], folder / "new.yaml", pseudo_dir=pseudos)
    loaded = load_campaign(folder / "new.yaml")
    problems = build_plan(loaded.campaign, loaded.structures).problems
    assert not [p for p in problems if "thinner than" in p.message]


def test_files_with_odd_names_are_read_back(folder):
    odd = folder / "my copper, #2"
    odd.mkdir()
    (folder / "Cu.vasp").rename(odd / "POSCAR")
    init_campaign([odd / "POSCAR"], folder / "new.yaml")
    loaded = load_campaign(folder / "new.yaml")
    assert loaded.campaign.name == "my-copper-2"


def test_existing_file_is_kept(folder):
    before = (folder / "campaign.yaml").read_text()
    with pytest.raises(CampaignError, match="--overwrite"):
        init_campaign([folder / "Cu.vasp"], folder / "campaign.yaml")
    assert (folder / "campaign.yaml").read_text() == before


def test_missing_structure_leaves_no_file(folder):
    with pytest.raises(StructureError, match="There is no file"):
        init_campaign([folder / "Ni.vasp"], folder / "new.yaml")
    assert not (folder / "new.yaml").exists()


def test_emt_refuses_what_it_does_not_know(folder):
    with pytest.raises(CampaignError, match="not Si"):
        init_campaign([folder / "Si.vasp"], folder / "new.yaml", code="emt")


def test_lone_atom_is_refused(folder):
    from ase import Atoms

    write(folder / "atom.xyz", Atoms("Cu", cell=[20, 20, 20], pbc=True))
    with pytest.raises(CampaignError, match="no neighbour within 8"):
        init_campaign([folder / "atom.xyz"], folder / "new.yaml")


def test_pseudopotentials_prefer_pbe_and_need_all_elements(pseudos):
    assert found_pseudopotentials(["Si", "Cu"], pseudos)[1] == {
        "Si": "Si.pbe-rrkj.UPF",
        "Cu": "Cu_pbe.upf",
    }
    assert found_pseudopotentials(["Si", "Au"], pseudos) == (None, {})


def test_pseudopotentials_of_two_functionals_are_not_mixed(folder):
    mixed = folder / "mixed"
    mixed.mkdir()
    for name in ("Ti.pz-sp-van_ak.UPF", "O.pbe-kjpaw.UPF"):
        (mixed / name).write_text(upf())
    assert found_pseudopotentials(["Ti", "O"], mixed) == (None, {})
    (mixed / "O.pz-kjpaw.UPF").write_text(upf())
    assert found_pseudopotentials(["Ti", "O"], mixed)[1]["O"] == "O.pz-kjpaw.UPF"
    (mixed / "ti.paw.z_12.UPF").write_text(upf())
    assert found_pseudopotentials(["Ti", "O"], mixed)[1] == {
        "Ti": "ti.paw.z_12.UPF",
        "O": "O.pbe-kjpaw.UPF",
    }


def test_cutoffs_are_those_that_the_files_ask_for(folder, pseudos):
    (pseudos / "Cu_pbe.upf").write_text(upf("PAW", 47.2, 189.0))
    labels, text = labels_of(folder, "Cu.vasp", pseudos, code="espresso")
    assert (labels.ecutwfc_Ry, labels.ecutrho_Ry) == (50.0, 400.0)
    assert "the files ask for at least Cu 47 Ry" in text
    assert "PAW: at least 8 x" in text
    assert "of pbe, by name" in text
    (pseudos / "Cu_pbe.upf").write_text(upf("USPP", 23.0, 372.0))
    labels, _ = labels_of(folder, "Cu.vasp", pseudos, code="espresso", overwrite=True)
    assert (labels.ecutwfc_Ry, labels.ecutrho_Ry) == (25.0, 380.0)


def test_cutoffs_without_a_suggestion_say_that_they_are_guesses(folder, pseudos):
    labels, text = labels_of(folder, "Cu.vasp", pseudos, code="espresso")
    assert (labels.ecutwfc_Ry, labels.ecutrho_Ry) == (80.0, None)
    assert "a guess for Cu: the file suggests nothing" in text
    assert "Converge them" in text
    labels, text = labels_of(folder, "Si.vasp", pseudos, code="espresso", overwrite=True)
    assert (labels.ecutwfc_Ry, labels.ecutrho_Ry) == (30.0, None)
    assert "checked for Si" in text


def test_missing_spin_is_told_for_magnetic_elements(folder, pseudos):
    write(folder / "Fe.vasp", bulk("Fe"))
    (pseudos / "Fe.pbe.UPF").write_text(upf("USPP", 64.0, 782.0))
    labels, text = labels_of(folder, "Fe.vasp", pseudos)
    assert labels.ecutrho_Ry == 790.0
    assert "Fe: labels are without spin" in text
    _, text = labels_of(folder, "Si.vasp", pseudos, overwrite=True)
    assert "labels are without spin" not in text


def test_grids_of_cp2k_are_finer_for_compact_elements(folder):
    write(folder / "TiO.vasp", bulk("TiO", "rocksalt", a=4.18))
    labels, text = labels_of(folder, "TiO.vasp", None, code="cp2k")
    assert (labels.cutoff_Ry, labels.rel_cutoff_Ry) == (600.0, 60.0)
    assert "Ti, O need fine grids" in text
    labels, _ = labels_of(folder, "Si.vasp", None, code="cp2k", overwrite=True)
    assert (labels.cutoff_Ry, labels.rel_cutoff_Ry) == (300.0, 40.0)


def test_file_that_is_no_pseudopotential_is_refused(folder, pseudos):
    (pseudos / "Cu_pbe.upf").write_text("nothing")
    with pytest.raises(InputError, match=r"Cu_pbe\.upf.*PP_HEADER"):
        labels_of(folder, "Cu.vasp", pseudos, code="espresso")
    assert not (folder / "new.yaml").exists()


def test_there_is_no_liquid_below_the_melting_point(folder):
    init_campaign([folder / "Cu.vasp"], folder / "new.yaml", max_temperature=1000.0)
    campaign = load_campaign(folder / "new.yaml").campaign
    names = [condition.name for condition in campaign.exploration.conditions]
    assert names == ["ramp", "strained", "vacancy", "pressed"]
    assert all(run.melt_temperature_K is None for run in campaign.validation.runs)
    assert not any(condition.extreme for condition in campaign.exploration.conditions)
    text = (folder / "new.yaml").read_text()
    assert "below the melting point (Cu 1358 K): there is no liquid" in text
    hot = {"max_temperature": 1400.0, "overwrite": True}
    init_campaign([folder / "Cu.vasp"], folder / "new.yaml", **hot)
    campaign = load_campaign(folder / "new.yaml").campaign
    assert "liquid" in [condition.name for condition in campaign.exploration.conditions]
    assert campaign.validation.runs[-1].melt_temperature_K == 2400.0


def test_cold_campaigns_heat_up_to_what_is_asked_for(folder):
    init_campaign([folder / "Cu.vasp"], folder / "new.yaml", max_temperature=100.0)
    campaign = load_campaign(folder / "new.yaml").campaign
    stages = [stage for condition in campaign.exploration.conditions for stage in condition.stages]
    assert {stage.temperatures_K for stage in stages} == {(50.0, 100.0)}
    assert [run.temperature_K for run in campaign.validation.runs] == [50.0, 75.0, 100.0]


def test_frames_and_structures_that_are_passed_over_are_told(folder):
    write(folder / "two.xyz", [bulk("Cu", cubic=True), bulk("Cu", a=3.7, cubic=True)])
    choices = init_campaign([folder / "two.xyz", folder / "Cu.vasp"], folder / "new.yaml")
    many, same = choices.remarks
    assert "two.xyz` holds 2 frames; the first is taken" in many
    assert "hold the same structure" in same
    assert init_campaign([folder / "Au.vasp"], folder / "gold.yaml").remarks == ()


def test_guessed_temperatures_of_compounds_say_so(folder):
    write(folder / "MgO.vasp", bulk("MgO", "rocksalt", a=4.21))
    init_campaign([folder / "MgO.vasp"], folder / "new.yaml")
    text = (folder / "new.yaml").read_text()
    assert "Mg 923 K, O unknown, 900 K" in text
    assert "a compound may melt far higher" in text
    assert "nepal init --max-temperature" in text
    init_campaign([folder / "Si.vasp"], folder / "new.yaml", overwrite=True)
    assert "compound" not in (folder / "new.yaml").read_text()


def test_folder_without_the_pseudopotentials_is_refused(folder, pseudos):
    with pytest.raises(CampaignError, match="no UPF files of one functional for Si"):
        init_campaign([folder / "Si.vasp"], folder / "new.yaml", pseudo_dir=folder / "nowhere")
    assert not (folder / "new.yaml").exists()


@pytest.mark.parametrize(
    ("nearest", "cutoffs"),
    [(2.556, (5.0, 4.0)), (0.96, (5.0, 4.0)), (3.72, (7.5, 6.0)), (5.0, (8.0, 6.0))],
)
def test_cutoffs_follow_the_nearest_neighbour(nearest, cutoffs):
    assert suggested_cutoffs(nearest) == cutoffs


def test_time_step_follows_the_lightest_element():
    assert suggested_time_step(["Cu", "Au"]) == 2.5
    assert suggested_time_step(["C"]) == 1.5
    assert suggested_time_step(["O", "H"]) == 0.5


def test_temperatures_follow_the_melting_point(folder):
    solid, melt = suggested_temperatures(read_structures(folder / "Cu.vasp")[0])
    assert (solid, melt) == (1500.0, 2500.0)


def test_grid_is_even_and_as_dense_as_asked(folder):
    silicon = read_structures(folder / "Si.vasp")[0]
    assert suggested_grid(silicon) == (6, 6, 6)
    assert suggested_grid(silicon, spacing=0.3) == (8, 8, 8)
