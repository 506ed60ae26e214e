"""How stages are wired: an iteration, a campaign, and its run on this machine."""

from nepal_flows.flows.campaign import CampaignMaker
from nepal_flows.flows.iteration import IterationMaker
from nepal_flows.flows.local import CampaignRun, campaign_flow, run_campaign
from nepal_flows.flows.steps import Step, next_step
from nepal_flows.jobs.routing import routed

__all__ = [
    "CampaignMaker",
    "CampaignRun",
    "IterationMaker",
    "Step",
    "campaign_flow",
    "next_step",
    "routed",
    "run_campaign",
]
