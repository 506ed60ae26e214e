"""Random models, random structures, and calorine's opinion of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from calorine.calculators import CPUNEP
from calorine.nep import get_descriptors

from nepal_flows.core.elements import symbols_of
from nepal_flows.core.nep.model import NepArchitecture, NepModel
from nepal_flows.core.structure import Structure
from nepal_flows.io.nep_txt import read_nep_txt, write_nep_txt


def random_model(seed: int = 0, **changes: Any) -> NepModel:
    """Return a model with random numbers, as read back from a nep.txt."""
    fields: dict[str, Any] = {
        "elements": ("Cu",),
        "radial_cutoffs": (5.5,),
        "angular_cutoffs": (4.5,),
        "n_max_radial": 4,
        "n_max_angular": 3,
        "basis_size_radial": 7,
        "basis_size_angular": 6,
        "l_max": 4,
        "has_q_222": True,
        "has_q_1111": False,
        "n_neurons": 11,
    }
    a = NepArchitecture(**(fields | changes))
    rng = np.random.default_rng(seed)
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    return NepModel(
        architecture=a,
        w0=rng.normal(size=(T, N, D)) / np.sqrt(D),
        b0=rng.normal(size=(T, N)),
        w1=0.3 * rng.normal(size=(T, N)),
        b1=1.3,
        c_radial=rng.normal(size=(a.n_max_radial + 1, a.basis_size_radial + 1, T, T)),
        c_angular=rng.normal(size=(a.n_max_angular + 1, a.basis_size_angular + 1, T, T)),
        q_scaler=rng.uniform(0.1, 1.0, size=D),
        max_neighbours=(400, 300),
    )


def random_structure(
    numbers: tuple[int, ...] = (29,), n_atoms: int = 14, *, seed: int = 0, edge: float = 6.0
) -> Structure:
    """Return atoms in a skewed cell, no two closer than 1.2 Å."""
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * edge + rng.normal(size=(3, 3)) * 0.1 * edge
    atoms = ase.Atoms(cell=cell, pbc=True)
    while len(atoms) < n_atoms:
        atoms.append(ase.Atom(int(rng.choice(numbers)), rng.uniform(size=3) @ cell))
        distances = atoms.get_all_distances(mic=True)[-1, :-1]
        if len(distances) and distances.min() < 1.2:
            del atoms[-1]
    return Structure(atoms.numbers, atoms.positions, cell)


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


@pytest.fixture(name="random_model")
def _random_model() -> Callable[..., NepModel]:
    return random_model


@pytest.fixture(name="random_structure")
def _random_structure() -> Callable[..., Structure]:
    return random_structure
