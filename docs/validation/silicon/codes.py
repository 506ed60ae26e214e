"""Two codes on the same frames: how far apart are the truths that the models are taught?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nepal_flows.core.structure import LabelledStructure
from silicon.references import is_same, read_labels


@dataclass(frozen=True)
class CodeDifference:
    """Differences of two codes' labels of the same structures.

    Attributes
    ----------
    n_frames, n_atoms
        What was compared.
    energy_rms_meV_per_atom
        After the mean difference of all frames.
    force_rms_meV_per_A
        Over components.
    force_share
        ... over the RMS of the forces, dimensionless.
    """

    n_frames: int
    n_atoms: int
    energy_rms_meV_per_atom: float
    force_rms_meV_per_A: float
    force_share: float


def code_differences(own: Path, other: Path) -> dict[str, Any]:
    """Return the differences by class of frames, from the files of two codes' labels.

    Parameters
    ----------
    own, other
        Files of labels; frames that both have are compared.
    """
    first, second = read_labels(own), read_labels(other)
    pairs: dict[str, list[tuple[LabelledStructure, LabelledStructure]]] = {}
    for name in first.keys() & second.keys():
        if name.startswith("frames/") and name.split("/")[2] != "cubic":
            both = zip(first[name].labels, second[name].labels, strict=False)
            same = [pair for pair in both if is_same(pair[0], pair[1].structure)]
            pairs.setdefault(name.split("/")[1], []).extend(same)
    pairs = {name: members for name, members in sorted(pairs.items()) if members}
    everything = [pair for members in pairs.values() for pair in members]
    if not everything:
        return {}
    offset = float(np.mean([_energy_difference(pair) for pair in everything]))
    named = pairs | {"all": everything}
    return {
        "versions": [read.version for read in (next(iter(f.values())) for f in (first, second))],
        "by_class": {name: asdict(_difference(members, offset)) for name, members in named.items()},
    }


def _difference(
    pairs: list[tuple[LabelledStructure, LabelledStructure]], offset: float
) -> CodeDifference:
    energies = np.array([_energy_difference(pair) for pair in pairs]) - offset
    forces = np.concatenate([a.forces - b.forces for a, b in pairs])
    scale = np.concatenate([a.forces for a, _ in pairs])
    force = float(np.sqrt(np.mean(forces**2)))
    return CodeDifference(
        n_frames=len(pairs),
        n_atoms=len(forces),
        energy_rms_meV_per_atom=1000.0 * float(np.sqrt(np.mean(energies**2))),
        force_rms_meV_per_A=1000.0 * force,
        force_share=force / float(np.sqrt(np.mean(scale**2))),
    )


def _energy_difference(pair: tuple[LabelledStructure, LabelledStructure]) -> float:
    return (pair[0].energy - pair[1].energy) / pair[0].n_atoms


def difference_rows(differences: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of a table."""
    return [
        [
            name,
            str(one["n_frames"]),
            f"{one['energy_rms_meV_per_atom']:.1f}",
            f"{one['force_rms_meV_per_A']:.0f}",
            f"{100.0 * one['force_share']:.1f} %",
        ]
        for name, one in differences["by_class"].items()
    ]


__all__ = ["CodeDifference", "code_differences", "difference_rows"]
