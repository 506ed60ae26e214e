"""Labels where ASE and NEP leave them: found, converted to the package's units and signs, checked.

They are in the results of the calculator (ASE moves ``energy``, ``free_energy``, ``forces`` and
``stress`` there when it reads a file) and, for NEP's own names, in ``atoms.info`` (``virial``,
``weight``) and ``atoms.arrays`` (``force``). The energy is the one whose gradient the forces are:
``free_energy`` where it is given.
"""

from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from nepal_flows.core.label_gate import implausible_label
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import LabelledDataError
from nepal_flows.typing import FloatArray

VIRIAL_TOLERANCE = 1e-3
"""Largest disagreement of virial and stress: absolute in eV and relative, whichever is larger."""

_LABEL_NAMES = ("energy", "forces", "force", "virial", "stress")


def labelled(atoms: Atoms, structure: Structure) -> LabelledStructure:
    """Return a structure with the labels that its ASE object carries.

    Parameters
    ----------
    atoms
        The ASE object; nothing is computed.
    structure
        Its structure.

    Raises
    ------
    LabelledDataError
        If energy or forces are missing, virial and stress contradict each other, or a number is
        not finite or beyond anything physical.
    """
    labels = _labels(atoms)
    missing = [name for name in ("energy", "forces") if name not in labels]
    if missing:
        raise LabelledDataError(
            f"{' and '.join(f'`{name}`' for name in missing)} cannot be found (found: "
            f"{', '.join(_names_present(atoms)) or 'no label'}). Training data need `energy` (eV) "
            "and `forces` (eV/Å) in every frame under these names."
        )
    frame = LabelledStructure(
        structure=structure,
        energy=number(labels["energy"], "energy"),
        forces=labels["forces"],
        virial=_virial(labels, structure.volume),
        weight=_weight(atoms),
    )
    reason = implausible_label(frame.energy, frame.forces, frame.virial)
    if reason is not None:
        raise LabelledDataError(f"{reason[0].upper()}{reason[1:]}. Correct the label, or drop it.")
    return frame


def has_labels(atoms: Atoms) -> bool:
    """Return whether an ASE object carries an energy or forces, usable or not."""
    return not {"energy", "forces"}.isdisjoint(_labels(atoms))


def _labels(atoms: Atoms) -> dict[str, Any]:
    """Return what is found of energy, forces, virial and stress, by name."""
    labels: dict[str, Any] = {}
    if atoms.calc is not None:
        for name, key in (
            ("energy", "energy"),
            ("free_energy", "energy"),
            ("forces", "forces"),
            ("stress", "stress"),
        ):
            value = _calculator_result(atoms, name)
            if value is not None:
                labels[key] = value
    plain = {name.lower(): value for name, value in (*atoms.info.items(), *atoms.arrays.items())}
    for name in _LABEL_NAMES:
        key = "forces" if name == "force" else name
        if name in plain and key not in labels:
            labels[key] = plain[name]
    return labels


def _calculator_result(atoms: Atoms, name: str) -> Any:
    """Return a result the calculator holds for these atoms, or None."""
    if name not in getattr(atoms.calc, "results", {}):
        return None
    return atoms.calc.get_property(name, atoms, allow_calculation=False)


def _names_present(atoms: Atoms) -> list[str]:
    results = list(getattr(atoms.calc, "results", {})) if atoms.calc is not None else []
    extra = [name for name in atoms.arrays if name not in {"numbers", "positions"}]
    return sorted({*results, *atoms.info, *extra})


def _virial(labels: dict[str, Any], volume: float) -> FloatArray | None:
    virial = None
    if "virial" in labels:
        virial = _tensor(labels["virial"], "virial")
    if "stress" not in labels:
        return virial
    from_stress = -volume * _tensor(labels["stress"], "stress")
    if virial is None:
        return from_stress
    if not np.allclose(virial, from_stress, rtol=VIRIAL_TOLERANCE, atol=VIRIAL_TOLERANCE):
        largest = float(np.abs(virial - from_stress).max())
        raise LabelledDataError(
            f"`virial` and `stress` contradict each other by up to {largest:.4g} eV. The virial is "
            "-stress x volume (virial in eV, positive when compressed; stress in eV/Å^3, positive "
            "in tension). Correct one of them, or keep only one."
        )
    return virial


def _tensor(value: Any, name: str) -> FloatArray:
    array = _numbers(value, name)
    if array.shape == (6,):
        return np.asarray(voigt_6_to_full_3x3_stress(array), dtype=np.float64)
    if array.size != 9:
        raise LabelledDataError(f"`{name}` has {array.size} values, expected 9 (row by row).")
    return array.reshape(3, 3)


def _weight(atoms: Atoms) -> float:
    value = next((v for name, v in atoms.info.items() if name.lower() == "weight"), 1.0)
    weight = number(value, "weight")
    if not 0.0 < weight < np.inf:
        raise LabelledDataError(f"`weight` is {weight:g}, expected a positive number.")
    return weight


def number(value: Any, name: str) -> float:
    """Return one number of a label.

    Raises
    ------
    LabelledDataError
        If it is none, or several.
    """
    array = _numbers(value, name)
    if array.size != 1:
        raise LabelledDataError(f"`{name}` has {array.size} values, expected one number.")
    return float(array.ravel()[0])


def _numbers(value: Any, name: str) -> FloatArray:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise LabelledDataError(f"`{name}` is `{value}`, expected numbers.") from error


__all__ = ["VIRIAL_TOLERANCE", "has_labels", "labelled", "number"]
