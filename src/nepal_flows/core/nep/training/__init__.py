"""Training of NEP4 models with exact gradients on the CPU."""

from nepal_flows.core.nep.training.evaluation import ModelErrors, model_errors
from nepal_flows.core.nep.training.reference_energies import (
    fit_reference_energies,
    reference_energy,
)
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.core.nep.training.trainer import (
    HISTORY_COLUMNS,
    Progress,
    TrainingResult,
    train_model,
)

__all__ = [
    "HISTORY_COLUMNS",
    "ModelErrors",
    "Progress",
    "TrainingResult",
    "TrainingSettings",
    "fit_reference_energies",
    "model_errors",
    "reference_energy",
    "train_model",
]
