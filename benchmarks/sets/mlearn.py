"""The public DFT sets of mlearn, with the split into training and test that was published.

Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020); github.com/materialsvirtuallab/mlearn, data/Si,
Ge and Li. (The order of the shear stresses differs in Mo.)
"""

import json
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.io.nep_in import NepInput
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

_KBAR_TO_GPA = 0.1


def read_mlearn(
    folder: str | Path,
) -> tuple[NepInput, list[LabelledStructure], list[LabelledStructure]]:
    """Return hyper-parameters, frames to train on and frames to test on of one element."""
    train, test = (_frames(Path(folder) / f"{part}.json") for part in ("training", "test"))
    symbol = json.loads((Path(folder) / "test.json").read_text())[0]["element"]
    given = NepInput(
        type=(symbol,), cutoff=(6.0, 4.5), n_max=(6, 6), basis_size=(6, 6), l_max=(4, 1, 0),
        neuron=30,
    )  # fmt: skip
    return given, train, test


def _frames(path: Path) -> list[LabelledStructure]:
    frames = []
    for entry in json.loads(path.read_text()):
        sites = entry["structure"]["sites"]
        structure = Structure(
            np.array([atomic_numbers[site["species"][0]["element"]] for site in sites]),
            np.array([site["xyz"] for site in sites]),
            np.array(entry["structure"]["lattice"]["matrix"]),
        )
        labels = entry["outputs"]
        xx, yy, zz, xy, yz, zx = labels["virial_stress"]  # kbar, positive when compressed
        stress = np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
        virial = stress * structure.volume * _KBAR_TO_GPA / EV_PER_CUBIC_ANGSTROM_TO_GPA
        frames.append(
            LabelledStructure(structure, labels["energy"], np.array(labels["forces"]), virial)
        )
    return frames
