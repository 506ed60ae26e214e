"""Labels: reference energies, forces and virials of structures, one module a code."""

from nepal_flows.labelers.ase_calculator import AseLabeler
from nepal_flows.labelers.documents import label_document
from nepal_flows.labelers.gates import LabelGate, gated_label
from nepal_flows.labelers.label import LabelOutcome, failed_fraction, label_structures
from nepal_flows.labelers.protocol import Labeler, RawLabel, Rung, UnconvergedLabelError

__all__ = [
    "AseLabeler",
    "LabelGate",
    "LabelOutcome",
    "Labeler",
    "RawLabel",
    "Rung",
    "UnconvergedLabelError",
    "failed_fraction",
    "gated_label",
    "label_document",
    "label_structures",
]
