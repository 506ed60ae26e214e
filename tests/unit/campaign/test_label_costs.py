"""What labels will cost is learnt from those that were made, whatever the first guess was."""

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.label_costs import LabelCosts
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.schemas import Cost, LabelDoc

SIZES = (2, 16, 54)
LABELS = {
    "vasp": {"code": "vasp"},
    "cp2k": {"code": "cp2k"},
    "espresso": {"code": "espresso", "pseudopotentials": {"Si": "Si.UPF"}},
}


def campaign(code):
    return Campaign.model_validate(
        {
            "name": "one",
            "structures": ["Si.vasp"],
            "model": {"elements": ["Si"]},
            "labels": LABELS[code],
            "exploration": {
                "conditions": [{"name": "hot", "stages": [{"temperature_K": 300, "steps": 100}]}]
            },
        }
    )


def cell(n_atoms):
    repeats = round((n_atoms / 2) ** (1 / 3))
    return structure_from_atoms(bulk("Si") * (repeats, repeats, repeats))


def label(structure, cpu_s):
    return LabelDoc.model_construct(
        n_atoms=structure.n_atoms, volume_A3=structure.volume, cost=Cost(cpu_s=cpu_s)
    )


@pytest.mark.parametrize("code", sorted(LABELS))
@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
def test_wrong_constant_is_corrected_by_three_labels(code, factor):
    first = LabelCosts(campaign(code), 2)
    rng = np.random.default_rng(3)
    cells = [cell(n) for n in SIZES]
    made = [label(c, factor * first.cpu_s(c) * rng.lognormal(0.0, 0.1)) for c in cells]
    learnt = first.learnt(made)
    for one in cells:
        assert learnt.cpu_s(one) / (factor * first.cpu_s(one)) == pytest.approx(1.0, abs=0.3)


def test_labels_of_vasp_cost_more_with_atoms_kpoints_and_spin():
    plain = LabelCosts(campaign("vasp"), 2)
    spin = campaign("vasp")
    labels = spin.labels.model_copy(update={"magnetic_moments_uB": {"Si": 1.0}})
    polarised = LabelCosts(spin.model_copy(update={"labels": labels}), 2)
    assert plain.cpu_s(cell(54)) > 3.0 * plain.cpu_s(cell(16))
    assert polarised.cpu_s(cell(16)) == pytest.approx(2.0 * plain.cpu_s(cell(16)))
