"""Small files that commands read."""

import json
import math
from pathlib import Path

from nepal_flows.errors import InputError


def read_reference_energies(path: Path) -> dict[str, float]:
    """Return energies per element, eV, from a reference_energies.json.

    Raises
    ------
    InputError
        If the file is not a JSON object of numbers by chemical symbol.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        energies = content.get("reference_energies_eV", content)
        return {str(symbol): _finite(energy) for symbol, energy in energies.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"`{path}` cannot be used as reference energies ({error}). It should hold "
            '`{"Cu": -3.5, ...}`, as training writes it.'
        ) from error


def _finite(value: object) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number


__all__ = ["read_reference_energies"]
