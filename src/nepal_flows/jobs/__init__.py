"""One Maker a stage: read, call one function of a lower layer, build one document."""

from nepal_flows.jobs.active_set import ActiveSetMaker
from nepal_flows.jobs.assess import AssessMaker
from nepal_flows.jobs.carve import CarveMaker
from nepal_flows.jobs.committee import CommitteeMaker, MemberMaker
from nepal_flows.jobs.explore import ExploreMaker
from nepal_flows.jobs.label import LabelMaker
from nepal_flows.jobs.posterior import PosteriorMaker
from nepal_flows.jobs.replicas import ReplicaMaker
from nepal_flows.jobs.seed import SeedMaker
from nepal_flows.jobs.select import SelectMaker
from nepal_flows.jobs.stage import DECIDING, STAGE, StageMaker
from nepal_flows.jobs.train import TrainMaker
from nepal_flows.jobs.validate import ValidateMaker

__all__ = [
    "DECIDING",
    "STAGE",
    "ActiveSetMaker",
    "AssessMaker",
    "CarveMaker",
    "CommitteeMaker",
    "ExploreMaker",
    "LabelMaker",
    "MemberMaker",
    "PosteriorMaker",
    "ReplicaMaker",
    "SeedMaker",
    "SelectMaker",
    "StageMaker",
    "TrainMaker",
    "ValidateMaker",
]
