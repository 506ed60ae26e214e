"""The campaign file: its model, defaults, plan and forecast."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nepal_flows.campaign.exploration import (
        CellChoice,
        Condition,
        ConfirmationSection,
        ExplorationSection,
        GateSection,
        GpumdSection,
        Mix,
        SeedsSection,
        Stage,
        Start,
        TeacherRun,
        ValidationSection,
    )
    from nepal_flows.campaign.labels import (
        AseLabels,
        Cp2kLabels,
        DftLabels,
        EspressoLabels,
        KPoints,
        Labels,
        VaspLabels,
    )
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
    "DftLabels",
    "EspressoLabels",
    "ExplorationSection",
    "GateSection",
    "GpumdSection",
    "KPoints",
    "Labels",
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
    "VaspLabels",
    "ZblSection",
    "gate_distances",
    "load_campaign",
    "nep_input_of",
    "read_campaign",
    "seed_structures",
    "starting_structure",
    "validation_structure",
]

_HOMES = {
    "ActiveSetSection": "model",
    "AseLabels": "labels",
    "BudgetSection": "model",
    "Campaign": "model",
    "CellChoice": "exploration",
    "Condition": "exploration",
    "ConfirmationSection": "exploration",
    "ConvergenceSection": "model",
    "Cp2kLabels": "labels",
    "DftLabels": "labels",
    "EspressoLabels": "labels",
    "ExplorationSection": "exploration",
    "GateSection": "exploration",
    "GpumdSection": "exploration",
    "KPoints": "labels",
    "Labels": "labels",
    "LoadedCampaign": "read",
    "Mix": "exploration",
    "ModelSection": "model",
    "ResourcesSection": "model",
    "SeedStructure": "structures",
    "SeedsSection": "exploration",
    "SelectionSection": "model",
    "Stage": "exploration",
    "Start": "exploration",
    "StructureFile": "model",
    "TeacherRun": "exploration",
    "TrainingSection": "model",
    "ValidationSection": "exploration",
    "VaspLabels": "labels",
    "ZblSection": "model",
    "gate_distances": "structures",
    "load_campaign": "read",
    "nep_input_of": "nep_input",
    "read_campaign": "read",
    "seed_structures": "structures",
    "starting_structure": "structures",
    "validation_structure": "structures",
}
"""Module of every name: each is imported when it is asked for, so that `nepal status` is quick."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
