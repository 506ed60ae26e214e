"""Campaigns and states survive the ways in which jobflow and FireWorks carry them."""

import json

from fireworks.utilities.fw_serializers import recursive_dict
from monty.json import MontyDecoder, MontyEncoder

from nepal_flows.campaign import Campaign
from nepal_flows.jobs import TrainMaker
from nepal_flows.schemas import CampaignState

STAGE = {"temperature_K": [300, 900], "steps": 100}
CAMPAIGN = Campaign.model_validate(
    {
        "name": "small",
        "structures": ["Cu.vasp"],
        "model": {"elements": ["Cu"]},
        "exploration": {"conditions": [{"name": "ramp", "stages": [STAGE]}]},
    }
)


def test_a_job_comes_back_from_fireworks_with_its_campaign_and_state():
    state = CampaignState(campaign_id="small-1", iteration=3, phase="confirmation")
    job = TrainMaker(campaign=CAMPAIGN).make(state)
    for carried in (
        json.loads(json.dumps(job, cls=MontyEncoder), cls=MontyDecoder),
        MontyDecoder().process_decoded(json.loads(json.dumps(recursive_dict(job.as_dict())))),
    ):
        assert carried.maker.campaign == CAMPAIGN
        assert carried.function_args[0] == state
