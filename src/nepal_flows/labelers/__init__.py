"""Labels: reference energies, forces and virials of structures, one module a code.

Every worker process imports this package; what only the campaign's own process needs (the campaign
file, the store) is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from nepal_flows.labelers.ase_calculator import AseLabeler
from nepal_flows.labelers.cp2k import Cp2kLabeler
from nepal_flows.labelers.electrons import Electrons
from nepal_flows.labelers.espresso import EspressoLabeler
from nepal_flows.labelers.gates import LabelGate, gated_label
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.label import LabelOutcome, label_structures
from nepal_flows.labelers.protocol import (
    CorruptOutputError,
    CrashedLabelError,
    HarmfulCorrectionError,
    Labeler,
    RawLabel,
    Rung,
    UnconvergedLabelError,
)
from nepal_flows.labelers.vasp import VaspLabeler

if TYPE_CHECKING:
    from nepal_flows.labelers.build import build_gate, build_labeler
    from nepal_flows.labelers.documents import label_document


def __getattr__(name: str) -> Any:
    if name in {"build_gate", "build_labeler"}:
        from nepal_flows.labelers import build  # noqa: PLC0415

        return getattr(build, name)
    if name == "label_document":
        from nepal_flows.labelers import documents  # noqa: PLC0415

        return documents.label_document
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AseLabeler",
    "CorruptOutputError",
    "Cp2kLabeler",
    "CrashedLabelError",
    "Electrons",
    "EspressoLabeler",
    "HarmfulCorrectionError",
    "KPointRule",
    "LabelGate",
    "LabelOutcome",
    "Labeler",
    "RawLabel",
    "Rung",
    "UnconvergedLabelError",
    "VaspLabeler",
    "build_gate",
    "build_labeler",
    "gated_label",
    "label_document",
    "label_structures",
]
