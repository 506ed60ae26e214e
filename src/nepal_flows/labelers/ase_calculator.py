"""Labels by any calculator that ASE can build from a name and arguments."""

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import (
    BaseCalculator,
    CalculatorError,
    CalculatorSetupError,
    PropertyNotImplementedError,
    get_calculator_class,
)
from ase.calculators.names import names
from ase.stress import voigt_6_to_full_3x3_stress
from monty.json import MSONable

from nepal_flows.core.structure import Structure
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.io.structures import atoms_from_structure
from nepal_flows.labelers.protocol import RawLabel, Rung, UnconvergedLabelError
from nepal_flows.typing import FloatArray

_KNOWN_ELEMENTS = {
    "emt": frozenset(("Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt", "H", "C", "N", "O")),
}
"""Elements of calculators that only say so when a structure is at hand."""


@dataclass(frozen=True)
class AseLabeler(MSONable):
    """Labels by a calculator of ASE.

    Attributes
    ----------
    calculator
        ASE's name of the calculator (``emt``), or ``package.module:Class``.
    arguments
        Its arguments.
    max_net_force
        Net force above which a label is refused, eV/Å.

    Raises
    ------
    CampaignError
        If there is no such calculator.
    """

    calculator: str = "emt"
    arguments: dict[str, Any] = field(default_factory=dict)
    max_net_force: float = 0.01
    name: str = field(default="ase", init=False)

    def __post_init__(self) -> None:
        calculator_class(self.calculator)

    def physics(self) -> dict[str, Any]:
        """Return the calculator and its arguments."""
        return {"code": "ase", "calculator": self.calculator, "arguments": dict(self.arguments)}

    def inputs(self) -> dict[str, Any]:
        """Return the calculator and its arguments."""
        return self.physics()

    def ladder(self) -> Sequence[Rung]:
        """Return two tries alike: of a calculator in general no helpers are known."""
        return (Rung("default"), Rung("again"))

    def check(self, elements: Sequence[str]) -> None:
        """Build the calculator, and ask whether it knows the elements, where that is known.

        Raises
        ------
        CampaignError
            If it cannot be built from its arguments.
        LabelError
            If it does not know an element.
        """
        self.calculator_object()
        known = _KNOWN_ELEMENTS.get(self.calculator.lower())
        unknown = [symbol for symbol in elements if known is not None and symbol not in known]
        if unknown and known is not None:
            raise LabelError(
                f"The calculator `{self.calculator}` does not know {', '.join(unknown)}; it knows "
                f"{', '.join(sorted(known))}. Choose another calculator under `labels`."
            )

    def label(
        self,
        structure: Structure,
        directory: Path,
        *,
        helpers: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> RawLabel:
        """Return the label of a structure; see ``Labeler.label``."""
        calculator = self.calculator_object()
        if hasattr(calculator, "directory"):
            calculator.directory = directory
        raw = evaluated(structure, calculator)
        return RawLabel(raw.energy, raw.forces, raw.virial, raw.info, f"ase {ase.__version__}")

    def calculator_object(self) -> Any:
        """Return the calculator, built from its arguments.

        Raises
        ------
        CampaignError
            If it cannot be built from them.
        """
        kind = calculator_class(self.calculator)
        try:
            return kind(**self.arguments)
        except (TypeError, ValueError, KeyError, CalculatorSetupError) as error:
            raise CampaignError(
                f"The calculator `{self.calculator}` cannot be built from {self.arguments}: "
                f"{error}. Correct `labels.arguments`."
            ) from error


def calculator_class(name: str) -> Any:
    """Return the class of a calculator.

    Parameters
    ----------
    name
        ASE's name, or ``package.module:Class``.

    Raises
    ------
    CampaignError
        If there is none; names that resemble it are listed.
    """
    module, _, attribute = name.partition(":")
    try:
        if attribute:
            return getattr(importlib.import_module(module), attribute)
        if name.lower() in names:
            name = name.lower()
        return get_calculator_class(name)
    except (ImportError, AttributeError, ValueError) as error:
        near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
        hint = (
            f"Did you mean {', '.join(f'`{match}`' for match in near)}?"
            if near and name.lower() not in names
            else "Install the package that it belongs to, or give `package.module:Class`."
        )
        raise CampaignError(f"There is no calculator `{name}` ({error}). {hint}") from error


def evaluated(structure: Structure, calculator: BaseCalculator) -> RawLabel:
    """Return what an ASE calculator answers for a structure, in the package's units and signs.

    The energy is the free energy where the calculator has one, because the forces are its
    gradient; the virial is ``-stress * volume``.

    Raises
    ------
    UnconvergedLabelError
        If the calculation failed.
    LabelError
        If the calculator raised anything else.
    """
    atoms: Any = atoms_from_structure(structure)
    atoms.calc = calculator
    try:
        forces = np.array(atoms.get_forces(apply_constraint=False), dtype=np.float64)
        energy, energy_name = _force_consistent_energy(atoms)
        stress = _stress(atoms)
    except CalculatorSetupError as error:
        raise LabelError(f"{type(error).__name__}: {error}") from error
    except (CalculatorError, OSError) as error:
        raise UnconvergedLabelError(f"{type(error).__name__}: {error}") from error
    except Exception as error:  # a calculator may raise whatever its code meets
        raise LabelError(f"The calculator raised {type(error).__name__}: {error}") from error
    virial = None if stress is None else -stress * structure.volume
    return RawLabel(energy, forces, virial, {"energy": energy_name})


def _force_consistent_energy(atoms: Any) -> tuple[float, str]:
    try:
        return float(atoms.get_potential_energy(force_consistent=True)), "free_energy"
    except (PropertyNotImplementedError, KeyError):
        return float(atoms.get_potential_energy()), "energy"


def _stress(atoms: Any) -> FloatArray | None:
    try:
        return tensor(atoms.get_stress(apply_constraint=False))
    except (PropertyNotImplementedError, NotImplementedError):
        return None


def tensor(stress: Any) -> FloatArray:
    """Return a stress in ASE's order of six, or of nine, as a matrix of shape (3, 3)."""
    array = np.asarray(stress, dtype=np.float64)
    if array.shape == (6,):
        array = np.asarray(voigt_6_to_full_3x3_stress(array), dtype=np.float64)
    return array.reshape(3, 3)


__all__ = ["AseLabeler", "calculator_class", "evaluated", "tensor"]
