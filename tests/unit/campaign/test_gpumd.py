"""Keys of a campaign that uses GPUMD: what is refused, what is shown, what keys depend on."""

import numpy as np
import pytest

from nepal_flows.campaign import load_campaign
from nepal_flows.campaign.demands import demanded_sections
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.campaign.plan import build_plan
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.nep.model import model_from_parameters
from nepal_flows.errors import CampaignError
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_restart import format_restart
from nepal_flows.io.nep_txt import write_nep_txt

BODY = "ensemble nvt_lan 500 500 50\nmc canonical 10 10 500 500\nrun 60\n"
STAGES = [{"temperature_K": 300, "steps": 200}]


def exploration(engine="gpumd", **condition):
    defaults = {"name": "one", "start": {"n_atoms": 8}}
    return {"engine": engine, "conditions": [defaults | (condition or {"stages": STAGES})]}


def problems(path):
    loaded = load_campaign(path)
    return [p.message for p in build_plan(loaded.campaign, loaded.structures).problems]


def test_a_body_is_shown_by_the_plan_and_counted(write_campaign, tmp_path):
    path = write_campaign(tmp_path, exploration=exploration(run_in=BODY))
    loaded = load_campaign(path)
    (condition,) = build_plan(loaded.campaign, loaded.structures).conditions
    assert condition.n_steps == 60
    assert "run_in       mc canonical 10 10 500 500" in condition.input


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (exploration("native", run_in=BODY), "needs `engine: gpumd`"),
        (exploration(run_in=BODY, stages=STAGES), "either `stages` or `run_in`"),
        (exploration(name="empty"), "either `stages` or `run_in`"),
        (exploration(run_in="potential x\n" + BODY), "newest model"),
        (exploration(run_in="ensamble nve\nrun 5"), "Did you mean `ensemble`"),
        (exploration("lammps", stages=STAGES), "native"),
    ],
)
def test_contradictions_are_refused_with_their_reason(write_campaign, tmp_path, changes, words):
    with pytest.raises(CampaignError, match=words):
        load_campaign(write_campaign(tmp_path, exploration=changes))


def test_what_gpumd_cannot_do_is_an_error_of_the_plan(write_campaign, tmp_path):
    cold = [{"ensemble": "nvt", "temperature_K": 0, "steps": 200}]
    found = problems(write_campaign(tmp_path, exploration=exploration(stages=cold)))
    assert any("above 0 K" in message for message in found)


def test_a_dump_that_would_fill_the_disk_is_warned_of(write_campaign, tmp_path):
    long = [{"temperature_K": 300, "steps": 900_000_000}]
    found = problems(write_campaign(tmp_path, exploration=exploration(stages=long)))
    assert any("GB of graded frames" in message for message in found)


def test_time_on_gpus_is_not_forecast_as_cpu_time(write_campaign, tmp_path):
    path = write_campaign(tmp_path, exploration=exploration(), training={"trainer": "nep"})
    loaded = load_campaign(path)
    stages = build_plan(loaded.campaign, loaded.structures).forecast.stages
    assert {stage.name: stage.cpu_s for stage in stages if "GPU" in stage.basis} == {
        "train": 0.0,
        "explore": 0.0,
    }


def test_generations_reach_nep_in_where_nep_trains(write_campaign, tmp_path):
    training = {"trainer": "nep", "nep": {"generations": 700, "population": 40, "lambda_1": 0.0}}
    campaign = load_campaign(write_campaign(tmp_path, training=training)).campaign
    made = nep_input_of(campaign)
    assert (made.generation, made.population, made.lambda_1) == (700, 40, 0.0)
    with pytest.raises(CampaignError, match="multiple of 100"):
        load_campaign(write_campaign(tmp_path, training={"nep": {"generations": 150}}))


def test_keys_do_not_depend_on_engines_that_do_not_run_nor_on_limits_of_time(
    write_campaign, tmp_path
):
    def demanded(**training):
        campaign = load_campaign(write_campaign(tmp_path, training=training)).campaign
        return demanded_sections(campaign, {"training", "exploration"})

    plain = demanded()
    assert "nep" not in plain["training"]
    assert "gpumd" not in plain["exploration"]
    assert "run_in" not in plain["exploration"]["conditions"][0]
    assert demanded(nep={"generations": 700}) == plain
    by_nep = demanded(trainer="nep")
    assert demanded(trainer="nep", nep={"time_limit_s": 5}) == by_nep
    assert demanded(trainer="nep", nep={"generations": 700}) != by_nep


def write_foundation(folder, elements, **changes):
    shape = {"cutoff": (4.0, 3.5), "n_max": (2, 2), "basis_size": (4, 4), "l_max": (2, 0, 0)}
    architecture = NepInput(type=elements, **(shape | {"neuron": 4} | changes)).architecture
    parameters = np.zeros(architecture.n_parameters)
    scaler = np.ones(architecture.n_descriptors)
    write_nep_txt(model_from_parameters(architecture, parameters, scaler), folder / "f.txt")
    (folder / "f.restart").write_text(format_restart(np.tile([0.0, 0.1], (len(parameters), 1))))


@pytest.mark.parametrize(
    ("n", "changes", "words"),
    [
        (89, {}, None),
        (3, {}, "89 elements"),
        (89, {"neuron": 5}, "`model.neuron` is 4, not 5"),
        (89, {"cutoff": (5.0, 3.5)}, "cutoff_A"),
    ],
)
def test_a_foundation_model_must_fit_the_campaign(write_campaign, tmp_path, n, changes, words):
    training = {"trainer": "nep", "nep": {"fine_tune": {"model": "f.txt", "restart": "f.restart"}}}
    path = write_campaign(tmp_path, training=training)
    write_foundation(tmp_path, SYMBOLS[1 : n + 1], **changes)
    if words is None:
        load_campaign(path)
    else:
        with pytest.raises(CampaignError, match=words):
            load_campaign(path)


def test_a_foundation_model_that_is_not_there_is_named(write_campaign, tmp_path):
    training = {"trainer": "nep", "nep": {"fine_tune": {"model": "f.txt", "restart": "f.restart"}}}
    with pytest.raises(CampaignError, match=r"training.nep.fine_tune.*f\.txt"):
        load_campaign(write_campaign(tmp_path, training=training))
