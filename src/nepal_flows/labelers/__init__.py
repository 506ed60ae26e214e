"""Labels: reference energies, forces and virials of structures, one module a code."""

from nepal_flows.labelers.ase_calculator import AseLabeler
from nepal_flows.labelers.build import build_gate, build_labeler
from nepal_flows.labelers.cp2k import Cp2kLabeler
from nepal_flows.labelers.documents import label_document
from nepal_flows.labelers.espresso import EspressoLabeler
from nepal_flows.labelers.gates import LabelGate, gated_label
from nepal_flows.labelers.kpoints import KPointRule
from nepal_flows.labelers.label import LabelOutcome, failed_fraction, label_structures
from nepal_flows.labelers.protocol import Labeler, RawLabel, Rung, UnconvergedLabelError

__all__ = [
    "AseLabeler",
    "Cp2kLabeler",
    "EspressoLabeler",
    "KPointRule",
    "LabelGate",
    "LabelOutcome",
    "Labeler",
    "RawLabel",
    "Rung",
    "UnconvergedLabelError",
    "build_gate",
    "build_labeler",
    "failed_fraction",
    "gated_label",
    "label_document",
    "label_structures",
]
