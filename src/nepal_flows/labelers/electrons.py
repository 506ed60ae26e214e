"""Spin, DFT+U, dispersion and charge: what labelers of several codes are asked for alike."""

from dataclasses import dataclass, field
from typing import Any, Literal

from monty.json import MSONable

Dispersion = Literal["D3", "D3-BJ"]

SHELLS = "spdf"
"""Names of angular momenta."""


@dataclass(frozen=True)
class Electrons(MSONable):
    """What is asked of the electrons beside the functional.

    Attributes
    ----------
    magnetic_moments_uB
        Moment of each element that self-consistency begins with; None without spin. An element
        that is not named begins with 0.
    hubbard_U_eV
        Effective U (U - J) of shells, ``{"Fe-3d": 4.0}``.
    dispersion
        Grimme's D3 with zero or with Becke-Johnson damping, two-body terms.
    charge_e
        Charge of every cell, against a uniform background.
    """

    magnetic_moments_uB: dict[str, float] | None = None
    hubbard_U_eV: dict[str, float] = field(default_factory=dict)
    dispersion: Dispersion | None = None
    charge_e: float = 0.0

    @property
    def is_polarised(self) -> bool:
        """Whether the spins differ."""
        return self.magnetic_moments_uB is not None

    def moment(self, symbol: str) -> float:
        """Return the moment that an element begins with, Bohr magnetons."""
        return (self.magnetic_moments_uB or {}).get(symbol, 0.0)

    def physics(self) -> dict[str, Any]:
        """Return what was asked for, as plain JSON values; empty when nothing was."""
        asked: dict[str, Any] = {}
        if self.magnetic_moments_uB is not None:
            asked["magnetic_moments_uB"] = dict(self.magnetic_moments_uB)
        if self.hubbard_U_eV:
            asked["hubbard_U_eV"] = dict(self.hubbard_U_eV)
        if self.dispersion is not None:
            asked["dispersion"] = self.dispersion
        if self.charge_e:
            asked["charge_e"] = self.charge_e
        return asked

    def shells(self) -> dict[str, tuple[int, float]]:
        """Return angular momentum and effective U (eV) by element.

        Examples
        --------
        >>> Electrons(hubbard_U_eV={"Fe-3d": 4.0}).shells()
        {'Fe': (2, 4.0)}
        """
        named = ((name.split("-"), value) for name, value in self.hubbard_U_eV.items())
        return {symbol: (SHELLS.index(shell[-1]), value) for (symbol, shell), value in named}


__all__ = ["SHELLS", "Dispersion", "Electrons"]
