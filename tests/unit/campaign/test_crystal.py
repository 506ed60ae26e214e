"""Force constants as a campaign's model: what is refused, with the reason, and what is planned."""

from pathlib import Path

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from nepal_flows.campaign import read_campaign
from nepal_flows.campaign.crystal import ideal_supercells
from nepal_flows.campaign.plan import build_plan
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cli.plan_output import plan_content, plan_lines
from nepal_flows.engines.force_constants import library
from nepal_flows.errors import CampaignError, InputError

WORKFLOWS = Path(__file__).parents[3] / "workflows"


def settings():
    return {
        "version": 1,
        "name": "argon",
        "structures": ["Ar.vasp"],
        "model": {"force_constants": {"cutoffs_A": [4.0, 4.0, 4.0]}},
        "labels": {"code": "ase", "calculator": "lj"},
        "seeds": {"n": 2, "supercell": [2, 2, 2], "volume_strain": 0.0, "shear_strain": 0.0},
        "exploration": {
            "dynamic": {"limit_meV_per_A": 3.0},
            "conditions": [
                {
                    "name": "warm",
                    "start": {"supercell": [2, 2, 2]},
                    "stages": [{"ensemble": "nvt", "temperature_K": 30, "steps": 100}],
                }
            ],
        },
        "selection": {"criterion": "bayes"},
        "confirmation": {"size_factor": 1.0},
    }


def written(folder, *path_and_value):
    """Return the campaign file with one value changed."""
    content = settings()
    if path_and_value:
        *path, value = path_and_value
        place = content
        for key in path[:-1]:
            place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
        place[path[-1]] = value
    write(folder / "Ar.vasp", bulk("Ar", a=5.31, cubic=True), direct=True)
    write(folder / "Cu.vasp", bulk("Cu", cubic=True), direct=True)
    (folder / "campaign.yaml").write_text(yaml.safe_dump(content))
    return folder / "campaign.yaml"


CONDITION = ("exploration", "conditions", 0)
NPT = [{"ensemble": "npt", "temperature_K": 30, "steps": 100}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("structures", ["Ar.vasp", "Cu.vasp"]), "belong to one crystal"),
        (("model", "neuron", 10), "`model.neuron`: is of a NEP"),
        (("model", "force_constants", {"cutoffs_A": []}), "cutoffs_A"),
        (("model", "force_constants", {"cutoffs_A": [3.0, 4.0]}), "must not rise"),
        (("exploration", "dynamic", None), "are learnt while they run"),
        (("selection", "criterion", "grade"), "goes by error bars"),
        (("selection", "bayes", {"layer": "last"}), "is of a NEP's network"),
        (("small_cells", {}), "small_cells"),
        (("exploration", "engine", "gpumd"), "must be `native`"),
        (("training", "trainer", "nep"), "solved for"),
        (("training", "reference_energies", {"Ar": 1.0}), "the ideal crystal is the zero"),
        (
            ("validation", {"runs": [{"name": "x", "temperature_K": 30}]}),
            "the larger cell is the test",
        ),
        (("seeds", "volume_strain", 0.04), "at its volume"),
        (("seeds", "vacancy_probability", 0.5), "whole and in order"),
        ((*CONDITION, "start", {"n_atoms": 32, "mode": "hnf"}), "mode `supercell` or `folded`"),
        ((*CONDITION, "start", {"n_atoms": [16, 32]}), "draws a cell anew"),
        ((*CONDITION, "start", "strain", 0.02), "at its volume"),
        ((*CONDITION, "start", "vacancies", 1), "whole and in order"),
        ((*CONDITION, "start", "volume_factor", [0.9, 1.1]), "give 1"),
        ((*CONDITION, "stages", NPT), "take nvt"),
    ],
)
def test_what_force_constants_cannot_be_asked_for_is_refused(tmp_path, change, message):
    with pytest.raises(CampaignError) as caught:
        read_campaign(written(tmp_path, *change))
    assert message in str(caught.value)


def plan(path):
    loaded = load_campaign(path)
    return loaded, build_plan(loaded.campaign, loaded.structures)


def messages(path):
    return [f"{p.level} {p.place}: {p.message}" for p in plan(path)[1].problems]


def test_cutoffs_that_do_not_fit_the_supercell_are_an_error_of_the_plan(tmp_path):
    path = written(tmp_path, "model", "force_constants", {"cutoffs_A": [7.0]})
    assert any("error model.force_constants" in text for text in messages(path))


def test_odd_highest_orders_and_too_few_labels_are_doubts(tmp_path):
    path = written(tmp_path, "model", "force_constants", {"cutoffs_A": [4.0, 4.0]})
    assert any("no lower bound" in text for text in messages(path))
    content = settings()
    content |= {"budget": {"labels": 1}, "seeds": content["seeds"] | {"n": 1}}
    path.write_text(yaml.safe_dump(content))
    assert any("force components for 40 parameters" in text for text in messages(path))


def test_a_missing_program_is_named(tmp_path, monkeypatch):
    def missing():
        raise InputError("Force constants need the package `hiphive`.")

    monkeypatch.setattr("nepal_flows.campaign.expansion.hiphive", missing)
    assert any("need the package `hiphive`" in text for text in messages(written(tmp_path)))
    assert library.hiphive is not missing


def test_supercells_are_those_that_seeds_and_runs_are_displaced_from(tmp_path):
    loaded = load_campaign(written(tmp_path, "confirmation", "size_factor", 1.5))
    cells = ideal_supercells(loaded.campaign, loaded.structures)
    assert [cell.n_atoms for cell in cells] == [32, 32, 48]


def test_keys_of_campaigns_without_force_constants_are_what_they_were():
    campaign = read_campaign(WORKFLOWS / "copper-dynamic.yaml")
    assert "force_constants" not in campaign.model.model_dump(mode="json")


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("dynamic-silicon-espresso", (10, 27, 90)),
        ("dynamic-cbas-cp2k", (15, 51, 176)),
        ("dynamic-snse-cp2k", (112, 166, 144)),
    ],
)
def test_campaign_files_of_real_crystals_are_planned(name, orders):
    loaded, made = plan(WORKFLOWS / f"{name}.yaml")
    assert made.expansion.parameters_by_order == orders
    assert made.problems == ()
    assert loaded.campaign.labels.code in name
    text = "\n".join(plan_lines(loaded, made, "", brief=False))
    assert f"order 4   cutoff {loaded.campaign.model.force_constants.cutoffs_A[2]:g} Å" in text
    assert "nep.in" not in text
    content = plan_content(loaded, made, "")
    assert content["nep_in"] is None
    assert content["force_constants"].n_parameters == sum(orders)
