"""What every labeler offers: a label for one structure, and what it depends on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from nepal_flows.core.structure import Structure
from nepal_flows.errors import FailureKind, LabelError
from nepal_flows.schemas import Correction
from nepal_flows.typing import FloatArray


@dataclass(frozen=True, eq=False)
class RawLabel:
    """What a code answered for one structure, in the package's units and signs, not yet judged.

    Attributes
    ----------
    energy
        The energy whose gradient the forces are (the free energy with smearing), eV.
    forces
        Forces, shape (n_atoms, 3), eV/Å.
    virial
        Virial, shape (3, 3), eV, positive when compressed; None where the code gives no stress.
    info
        What else is worth keeping, plain JSON values: the k-grid, iterations ...
    version
        Version of the code, where it says so.
    drift
        Sum of the forces that the code took off before it wrote them, shape (3,), eV/Å; None for
        a code that writes them as they are.
    corrections
        What a supervising program changed in the inputs on the way, none of it the physics.
    """

    energy: float
    forces: FloatArray
    virial: FloatArray | None = None
    info: dict[str, Any] = field(default_factory=dict)
    version: str | None = None
    drift: FloatArray | None = None
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class Rung:
    """One rung of a retry ladder.

    Attributes
    ----------
    name
        What is different, in a word.
    changed
        Convergence helpers that are changed: how the answer is found, never what it is.
    """

    name: str
    changed: dict[str, Any] = field(default_factory=dict)


class UnconvergedLabelError(LabelError):
    """The code ran but did not find self-consistency, or ended badly: another try may succeed."""

    failure: FailureKind = "not_converged"


class CrashedLabelError(UnconvergedLabelError):
    """The program died, or ended with an exit code that says so."""

    failure: FailureKind = "crashed"


class CorruptOutputError(UnconvergedLabelError):
    """The program's output is cut short, contradicts itself or belongs to another run."""

    failure: FailureKind = "corrupt_output"


class HarmfulCorrectionError(LabelError):
    """What supervised the program changed the physics of its inputs: the label is of another kind.

    Attributes
    ----------
    corrections
        Every correction, in order.
    """

    failure: FailureKind = "harmful_correction"

    def __init__(self, message: str, corrections: Sequence[Correction] = ()) -> None:
        super().__init__(message)
        self.corrections = tuple(corrections)


@runtime_checkable
class Labeler(Protocol):
    """A code with its settings: a small frozen dataclass that survives JSON and pickling."""

    @property
    def name(self) -> str:
        """``ase``, ``cp2k``, ``espresso``, ``vasp``."""

    @property
    def max_net_force(self) -> float:
        """Net force |sum F| / sqrt(n_atoms) above which a label is refused, eV/Å."""

    def physics(self) -> dict[str, Any]:
        """Return all that the label depends on beside the structure, as plain JSON values."""

    def inputs(self) -> dict[str, Any]:
        """Return the settings as given, for the record."""

    def ladder(self) -> Sequence[Rung]:
        """Return the tries, the first as given."""

    def check(self, elements: Sequence[str]) -> None:
        """Raise ``LabelError`` unless structures of these elements can be labelled here."""

    def label(
        self, structure: Structure, directory: Path, *, helpers: Mapping[str, Any] | None = None
    ) -> RawLabel:
        """Return the label of a structure.

        Parameters
        ----------
        structure
            The structure.
        directory
            Where files may be written; it exists and is empty.
        helpers
            Convergence helpers of a rung of the ladder.

        Raises
        ------
        UnconvergedLabelError
            If another try with other helpers may succeed.
        LabelError
            If it cannot.
        """


__all__ = [
    "CorruptOutputError",
    "CrashedLabelError",
    "HarmfulCorrectionError",
    "Labeler",
    "RawLabel",
    "Rung",
    "UnconvergedLabelError",
]
