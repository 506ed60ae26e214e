"""Stages of a campaign whose model is force constants."""

from nepal_flows.jobs.force_constants.assess import AssessCrystalMaker
from nepal_flows.jobs.force_constants.explore import ExploreCrystalMaker
from nepal_flows.jobs.force_constants.fit import FitCrystalMaker
from nepal_flows.jobs.force_constants.select import SelectCrystalMaker

__all__ = ["AssessCrystalMaker", "ExploreCrystalMaker", "FitCrystalMaker", "SelectCrystalMaker"]
