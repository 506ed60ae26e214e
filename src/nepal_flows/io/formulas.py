"""Formulas, charges and bonds as people write them."""

import re

from nepal_flows.core.elements import atomic_number
from nepal_flows.errors import InputError

_PART = re.compile(r"([A-Z][a-z]?)(\d*)")


def parsed_formula(text: str) -> dict[int, int]:
    """Return atoms by atomic number from a formula.

    Raises
    ------
    InputError
        If it is no formula.

    Examples
    --------
    >>> parsed_formula("CsPbI3")
    {55: 1, 82: 1, 53: 3}
    """
    if not text or not re.fullmatch(f"(?:{_PART.pattern})+", text):
        raise InputError(f"`{text}` is no formula; write it as NaCl or CsPbI3.")
    formula: dict[int, int] = {}
    for symbol, count in _PART.findall(text):
        number = _number(symbol, text)
        formula[number] = formula.get(number, 0) + int(count or 1)
    return formula


def parsed_charges(text: str) -> dict[int, float]:
    """Return charges by atomic number from a list.

    Raises
    ------
    InputError
        If it is no such list.

    Examples
    --------
    >>> parsed_charges("Na:1,Cl:-1")
    {11: 1.0, 17: -1.0}
    """
    return {_number(name, text): value for name, value in _items(text, "Na:1,Cl:-1").items()}


def parsed_bonds(text: str) -> dict[tuple[int, int], float]:
    """Return longest bonds, Å, by pair of atomic numbers from a list.

    Raises
    ------
    InputError
        If it is no such list.

    Examples
    --------
    >>> parsed_bonds("O-H:1.2")
    {(1, 8): 1.2}
    """
    bonds = {}
    for name, value in _items(text, "O-H:1.2,C-C:1.8").items():
        pair = name.split("-")
        if len(pair) != 2 or not value > 0.0:
            raise InputError(f"`{name}:{value:g}` is no bond; write it as O-H:1.2.")
        low, high = sorted(_number(symbol, text) for symbol in pair)
        bonds[low, high] = value
    return bonds


def _items(text: str, example: str) -> dict[str, float]:
    """Return numbers by name from ``name:number,name:number``."""
    found = {}
    for item in text.split(","):
        name, _, value = item.partition(":")
        try:
            found[name.strip()] = float(value)
        except ValueError as error:
            raise InputError(f"`{item}` cannot be read; write `{example}`.") from error
    return found


def _number(symbol: str, text: str) -> int:
    try:
        return atomic_number(symbol.strip())
    except ValueError as error:
        raise InputError(f"`{text}`: {error}.") from error


__all__ = ["parsed_bonds", "parsed_charges", "parsed_formula"]
