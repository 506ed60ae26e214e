"""What `nepal init` writes: it is read back, and its rules hold."""

import pytest

from nepal_flows.campaign import AseLabels, Cp2kLabels, EspressoLabels, load_campaign
from nepal_flows.campaign.defaults import (
    suggested_cutoffs,
    suggested_grid,
    suggested_temperatures,
    suggested_time_step,
)
from nepal_flows.campaign.init import found_pseudopotentials, init_campaign
from nepal_flows.campaign.plan import build_plan
from nepal_flows.errors import CampaignError, StructureError
from nepal_flows.io.structures import read_structures


@pytest.fixture
def pseudos(folder):
    (folder / "upf").mkdir()
    for name in ("Si.pbe-rrkj.UPF", "Si.pz-vbc.UPF", "Cu_pbe.upf"):
        (folder / "upf" / name).write_text("<UPF>")
    return folder / "upf"


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
    from ase.io import write

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
    from ase.io import write

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
    from ase.io import write

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
    upf = folder / "mixed"
    upf.mkdir()
    for name in ("Ti.pz-sp-van_ak.UPF", "O.pbe-kjpaw.UPF"):
        (upf / name).write_text("<UPF>")
    assert found_pseudopotentials(["Ti", "O"], upf) == (None, {})
    (upf / "O.pz-kjpaw.UPF").write_text("<UPF>")
    assert found_pseudopotentials(["Ti", "O"], upf)[1]["O"] == "O.pz-kjpaw.UPF"
    (upf / "ti.paw.z_12.UPF").write_text("<UPF>")
    assert found_pseudopotentials(["Ti", "O"], upf)[1] == {
        "Ti": "ti.paw.z_12.UPF",
        "O": "O.pbe-kjpaw.UPF",
    }


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


def test_grid_is_made_of_multiples_of_four(folder):
    silicon = read_structures(folder / "Si.vasp")[0]
    assert suggested_grid(silicon) == (4, 4, 4)
    assert suggested_grid(silicon, spacing=0.3) == (8, 8, 8)
