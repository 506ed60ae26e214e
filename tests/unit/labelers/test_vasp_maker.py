"""Atomate2's powerups reach labels as they reach atomate2's own jobs."""

import pytest
from ase.build import bulk
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_user_potcar_functional,
    update_user_potcar_settings,
)

from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.labelers import build_labeler
from nepal_flows.labelers.vasp_maker import labels_of_maker
from nepal_flows.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore:.*POTCAR")


def labeler_of(maker, **keys):
    copper = structure_from_atoms(bulk("Cu"))
    labels = labels_of_maker(maker, **keys)
    return build_labeler(labels, primitive=copper, elements=["Cu"], settings=Settings()), copper


def input_of(maker, **keys):
    labeler, copper = labeler_of(maker, **keys)
    return labeler.input_text(copper, labeler.kpoints.mesh(copper)).splitlines()


def test_incar_updates_reach_the_label_and_its_physics():
    maker = update_user_incar_settings(StaticMaker(), {"ENCUT": 600, "LASPH": None, "NCORE": 4})
    lines = input_of(maker)
    assert {"ENCUT = 600.0", "NCORE = 4", "GGA = Ps"} <= set(lines)  # the set's own functional
    assert not [line for line in lines if line.startswith("LASPH")]
    plain, updated = labeler_of(StaticMaker())[0], labeler_of(maker)[0]
    assert plain.physics() != updated.physics()
    only_how = labeler_of(update_user_incar_settings(StaticMaker(), {"NCORE": 4, "ALGO": "All"}))
    assert only_how[0].physics() == plain.physics()


def test_potcar_updates_reach_the_label():
    maker = update_user_potcar_settings(StaticMaker(), {"Cu": "Cu_pv"})
    assert input_of(maker)[-1] == "Cu_pv"
    maker = update_user_potcar_functional(maker, "PBE_64")
    assert "# POTCAR (PBE_64)" in input_of(maker)


def test_keys_of_the_section_win():
    assert "ENCUT = 450.0" in input_of(StaticMaker(), encut_eV=450.0)
    assert "GGA = Pe" in input_of(StaticMaker(), functional="PBE")


def test_command_of_the_maker_is_kept():
    maker = StaticMaker(run_vasp_kwargs={"vasp_cmd": "srun vasp"})
    assert labels_of_maker(maker).command == "srun vasp"


def test_k_points_of_a_maker_are_refused():
    maker = update_user_kpoints_settings(StaticMaker(), {"reciprocal_density": 100})
    with pytest.raises(CampaignError, match=r"user_kpoints_settings.*labels\.kpoints"):
        labels_of_maker(maker)


def test_what_the_campaign_says_itself_is_refused_from_a_maker_too():
    maker = update_user_incar_settings(StaticMaker(), {"KSPACING": 0.2})
    with pytest.raises(LabelError, match="KSPACING: k-points follow from"):
        input_of(maker)
