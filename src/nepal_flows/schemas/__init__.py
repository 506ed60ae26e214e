"""The documents that are stored, one class a kind."""

from nepal_flows.core.rounds import Phase
from nepal_flows.engines.outcome import Outcome
from nepal_flows.schemas.base import Batch, BlobRef, Cost, Document, Errors, Part, Role
from nepal_flows.schemas.campaign import (
    ApprovalDoc,
    Calibration,
    CalibrationBin,
    CampaignDoc,
    CampaignState,
    Certificate,
    ConditionVerdict,
    EndState,
    ErrorBars,
    ForceBiasPart,
    IterationDoc,
    LabelSums,
    ReplicaDoc,
    SlopePart,
    ValidationDoc,
)
from nepal_flows.schemas.carving import (
    CarvingDoc,
    CarvingFidelity,
    CarvingRoundDoc,
    carving_document,
)
from nepal_flows.schemas.exploration import ExplorationDoc, SelectedFrame, SelectionDoc
from nepal_flows.schemas.label import Ancestry, Attempt, Correction, LabelDoc
from nepal_flows.schemas.model import (
    ActiveSetDoc,
    CheckpointDoc,
    CommitteeDoc,
    ElementCoverage,
    MemberDoc,
    PosteriorDoc,
    TrainingDoc,
)

__all__ = [
    "ActiveSetDoc",
    "Ancestry",
    "ApprovalDoc",
    "Attempt",
    "Batch",
    "BlobRef",
    "Calibration",
    "CalibrationBin",
    "CampaignDoc",
    "CampaignState",
    "CarvingDoc",
    "CarvingFidelity",
    "CarvingRoundDoc",
    "Certificate",
    "CheckpointDoc",
    "CommitteeDoc",
    "ConditionVerdict",
    "Correction",
    "Cost",
    "Document",
    "ElementCoverage",
    "EndState",
    "ErrorBars",
    "Errors",
    "ExplorationDoc",
    "ForceBiasPart",
    "IterationDoc",
    "LabelDoc",
    "LabelSums",
    "MemberDoc",
    "Outcome",
    "Part",
    "Phase",
    "PosteriorDoc",
    "ReplicaDoc",
    "Role",
    "SelectedFrame",
    "SelectionDoc",
    "SlopePart",
    "TrainingDoc",
    "ValidationDoc",
    "carving_document",
]
