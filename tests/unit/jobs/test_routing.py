"""Which worker takes which job."""

import pytest
from jobflow import Flow, JobOrder, job

from nepal_flows.campaign import Campaign
from nepal_flows.jobs.routing import MOST_BUNDLES, bundles, routed, worker_routes

CAMPAIGN = Campaign.model_validate(
    {
        "name": "small",
        "structures": ["Cu.vasp"],
        "exploration": {
            "conditions": [{"name": "ramp", "stages": [{"temperature_K": 300, "steps": 100}]}]
        },
    }
)


def with_engines(engine, trainer):
    exploration = CAMPAIGN.exploration.model_copy(update={"engine": engine})
    training = CAMPAIGN.training.model_copy(update={"trainer": trainer})
    return CAMPAIGN.model_copy(update={"exploration": exploration, "training": training})


@pytest.mark.parametrize(
    ("engine", "trainer", "explores", "trains"),
    [("native", "native", "c", "c"), ("gpumd", "native", "g", "c"), ("gpumd", "nep", "g", "g")],
)
def test_engines_of_gpus_go_to_gpus_and_labels_to_dft(engine, trainer, explores, trains):
    routes = worker_routes(with_engines(engine, trainer), gpu="g", dft="d", cpu="c")
    assert routes["explore"] == explores
    assert routes["train"] == trains
    assert routes["label bundle"] == "d"
    assert routes["*"] == "c"


@job
def add(a, b):
    return a + b


def test_job_that_no_route_names_goes_to_the_worker_of_all_others():
    first, second = add(1, 2), add(3, 4)
    first.name = "train"
    routed(Flow([first, second], order=JobOrder.LINEAR), {"train": "g", "*": "c"})
    assert first.config.manager_config == {"_fworker": "g", "worker": "g"}
    assert second.config.manager_config == {"_fworker": "c", "worker": "c"}
    third = add(1, 2)
    routed(Flow([third]), {"train": "g"})
    assert third.config.manager_config == {}


def test_bundles_hold_everything_once_and_are_never_too_many():
    assert bundles([], 3) == []
    assert bundles([4, 5, 7], None) == [[4, 5, 7]]
    assert bundles([4, 5, 7], 2) == [[4, 5], [7]]
    many = bundles(range(1000), 1)
    assert len(many) <= MOST_BUNDLES
    assert [member for bundle in many for member in bundle] == list(range(1000))
