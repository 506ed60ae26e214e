"""The periodic table: symbols and atomic numbers."""

from collections.abc import Sequence

import numpy as np

from nepal_flows.errors import InputError
from nepal_flows.typing import IntArray

_TABLE = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe "
    "Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn "
    "Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W "
    "Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf "
    "Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
)

SYMBOLS: tuple[str, ...] = tuple(_TABLE.split())
"""Chemical symbols by atomic number; index 0 is the placeholder ``X``."""

_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}


def atomic_number(symbol: str) -> int:
    """Return the atomic number of a chemical symbol.

    Raises
    ------
    InputError
        If the symbol is not that of an element.

    Examples
    --------
    >>> atomic_number("Cu")
    29
    """
    number = _NUMBERS.get(symbol, 0)
    if number == 0:
        raise InputError(
            f"`{symbol}` is not a chemical element. Use symbols such as `Si` or `Cu`, "
            "with a capital first letter."
        )
    return number


def symbols_of(numbers: Sequence[int] | IntArray) -> tuple[str, ...]:
    """Return the chemical symbols of atomic numbers, in order.

    Examples
    --------
    >>> symbols_of([29, 79])
    ('Cu', 'Au')
    """
    return tuple(SYMBOLS[int(number)] for number in np.asarray(numbers))


__all__ = ["SYMBOLS", "atomic_number", "symbols_of"]
