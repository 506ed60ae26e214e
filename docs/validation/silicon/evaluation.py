"""Who answers for structures: a model, or labels. Every property takes either."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import reference_energy
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import EngineError
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms
from silicon.cells import changed

FORCE_TOLERANCE_EV_PER_A = 0.02
"""Largest force of a relaxed structure."""

LARGEST_STEP_A = 0.1


class Evaluator(Protocol):
    """Energies, forces and virials of structures, and relaxed structures."""

    def __call__(self, name: str, structures: Sequence[Structure]) -> list[LabelledStructure]:
        """Return the labels of structures, in order.

        Parameters
        ----------
        name
            What they are for; labels that are kept are kept under it.
        structures
            The structures.
        """

    def relaxed(self, name: str, start: Structure) -> LabelledStructure:
        """Return what a structure relaxes to in its cell, with its labels."""


class ModelEvaluator:
    """Evaluation by a model; energies are on the labeler's scale.

    Parameters
    ----------
    model
        The potential.
    references
        Energy of every element that was subtracted before training, eV.
    """

    def __init__(self, model: NepModel, references: dict[str, float]) -> None:
        self.model = model
        self.references = references

    def __call__(self, name: str, structures: Sequence[Structure]) -> list[LabelledStructure]:  # noqa: ARG002
        """Return the model's predictions; the name has no meaning here."""
        predictions = predict_many(self.model, structures)
        return [
            LabelledStructure(
                structure,
                energy=prediction.energy + reference_energy(structure, self.references),
                forces=prediction.forces,
                virial=prediction.virial,
            )
            for structure, prediction in zip(structures, predictions, strict=True)
        ]

    def relaxed(self, name: str, start: Structure) -> LabelledStructure:
        """Return the structure relaxed by the model."""
        return relaxed(lambda structure: self(name, [structure])[0], start)


def relaxed(
    evaluate: Callable[[Structure], LabelledStructure],
    start: Structure,
    *,
    tolerance: float = FORCE_TOLERANCE_EV_PER_A,
    max_steps: int = 200,
) -> LabelledStructure:
    """Return what a structure relaxes to with its cell fixed, by the BFGS of ASE.

    Parameters
    ----------
    evaluate
        Labels of one structure.
    start
        Where to begin.
    tolerance
        Largest force at the end, eV/Å.
    max_steps
        Steps at most.

    Raises
    ------
    EngineError
        If the forces do not fall below the tolerance.
    """
    atoms: Any = atoms_from_structure(start)
    atoms.calc = _AseCalculator(evaluate)
    with BFGS(atoms, logfile=None, maxstep=LARGEST_STEP_A) as optimizer:
        if not optimizer.run(fmax=tolerance, steps=max_steps):
            largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
            raise EngineError(
                f"After {max_steps} steps the largest force is {largest:.3f} eV/Å, not below "
                f"{tolerance:g}. Begin nearer to a minimum."
            )
    return evaluate(changed(start, positions=structure_from_atoms(atoms).positions))


class _AseCalculator(Calculator):
    """ASE's view of one evaluation."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 - as ASE wants it

    def __init__(self, evaluate: Callable[[Structure], LabelledStructure]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._evaluate = evaluate

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, list(properties), list(system_changes))  # type: ignore[no-untyped-call]
        label = self._evaluate(structure_from_atoms(atoms))
        self.results = {"energy": label.energy, "forces": label.forces}


__all__ = ["FORCE_TOLERANCE_EV_PER_A", "Evaluator", "ModelEvaluator", "relaxed"]
