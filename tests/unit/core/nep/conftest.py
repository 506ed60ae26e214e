"""Calorine's opinion of models and structures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ase
import numpy as np
import pytest
from calorine.calculators import CPUNEP
from calorine.nep import get_descriptors

from nepal_flows.core.elements import symbols_of
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.structure import Structure
from nepal_flows.io.nep_txt import read_nep_txt, write_nep_txt


@dataclass(frozen=True)
class Reference:
    """What calorine's CPUNEP computes."""

    energies: np.ndarray
    forces: np.ndarray
    virial: np.ndarray
    descriptors: np.ndarray


@pytest.fixture
def reference(tmp_path: Path) -> Callable[[NepModel, Structure], tuple[NepModel, Reference]]:
    """Evaluate a model with calorine; also return the model as it reads in the file."""

    def evaluate(model: NepModel, structure: Structure) -> tuple[NepModel, Reference]:
        path = tmp_path / "nep.txt"
        write_nep_txt(model, path)
        atoms = ase.Atoms(
            symbols_of(structure.numbers), structure.positions, cell=structure.cell, pbc=True
        )
        atoms.calc = CPUNEP(str(path))
        stress = atoms.get_stress(voigt=False)
        result = Reference(
            atoms.get_potential_energies(),
            atoms.get_forces(),
            -stress * structure.volume,
            get_descriptors(atoms, str(path)),
        )
        return read_nep_txt(path), result

    return evaluate
