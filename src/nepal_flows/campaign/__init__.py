"""The campaign file: its model, defaults, plan and forecast."""

from nepal_flows.campaign.exploration import (
    CellChoice,
    Condition,
    ConfirmationSection,
    ExplorationSection,
    GateSection,
    Mix,
    SeedsSection,
    Stage,
    Start,
    TeacherRun,
    ValidationSection,
)
from nepal_flows.campaign.labels import AseLabels, Cp2kLabels, EspressoLabels, KPoints
from nepal_flows.campaign.model import (
    ActiveSetSection,
    BudgetSection,
    Campaign,
    ConvergenceSection,
    ModelSection,
    ResourcesSection,
    SelectionSection,
    StructureFile,
    TrainingSection,
    ZblSection,
)
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.campaign.read import LoadedCampaign, load_campaign, read_campaign
from nepal_flows.campaign.structures import (
    SeedStructure,
    gate_distances,
    seed_structures,
    starting_structure,
    validation_structure,
)

__all__ = [
    "ActiveSetSection",
    "AseLabels",
    "BudgetSection",
    "Campaign",
    "CellChoice",
    "Condition",
    "ConfirmationSection",
    "ConvergenceSection",
    "Cp2kLabels",
    "EspressoLabels",
    "ExplorationSection",
    "GateSection",
    "KPoints",
    "LoadedCampaign",
    "Mix",
    "ModelSection",
    "ResourcesSection",
    "SeedStructure",
    "SeedsSection",
    "SelectionSection",
    "Stage",
    "Start",
    "StructureFile",
    "TeacherRun",
    "TrainingSection",
    "ValidationSection",
    "ZblSection",
    "gate_distances",
    "load_campaign",
    "nep_input_of",
    "read_campaign",
    "seed_structures",
    "starting_structure",
    "validation_structure",
]
