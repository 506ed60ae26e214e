"""First values of plane-wave cutoffs: what pseudopotentials suggest, else a guess that says so."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nepal_flows.io.upf import UpfHeader

COMPACT = frozenset(
    ["H", "B", "C", "N", "O", "F", "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"]
)
"""Elements whose valence shell has no shell of its kind below it: they need higher cutoffs."""

MAGNETIC = frozenset(["Cr", "Mn", "Fe", "Co", "Ni", "Gd"])
"""Elements whose crystals order magnetically."""

GUESSES_RY: Mapping[str, tuple[float, float]] = {
    "norm-conserving": (40.0, 80.0),
    "ultrasoft": (40.0, 50.0),
    "PAW": (40.0, 50.0),
}
"""Wave-function cutoff where a file suggests none, Ry: of other elements, of compact ones."""

CHECKED_RY = {"Si": 30.0}
"""Cutoffs of norm-conserving pseudopotentials that were checked (docs/validation.md), Ry."""

DENSITY_RATIO = 8.0
"""Density over wave-function cutoff of ultrasoft and PAW files, at least."""


@dataclass(frozen=True)
class PlaneWaves:
    """Cutoffs of Quantum ESPRESSO to begin with, and where they come from.

    Attributes
    ----------
    ecutwfc
        Of the wave functions, Ry.
    ecutrho
        Of the density, Ry; None for 4 times the first, which norm-conserving files need.
    told
        What the files suggest for the wave functions, by element, Ry.
    guessed
        Elements whose files suggest nothing.
    kinds
        Kinds of the pseudopotentials.
    """

    ecutwfc: float
    ecutrho: float | None
    told: Mapping[str, float]
    guessed: tuple[str, ...]
    kinds: tuple[str, ...]


def suggested_plane_waves(
    elements: Sequence[str], headers: Mapping[str, UpfHeader | None]
) -> PlaneWaves:
    """Return the cutoffs to begin with: the largest that an element needs.

    Parameters
    ----------
    elements
        Chemical symbols.
    headers
        Header of the pseudopotential of every element; None or missing where it is not known.

    Examples
    --------
    >>> suggested_plane_waves(["Cu"], {"Cu": UpfHeader("PAW", 47.2, 188.9)}).ecutrho
    400.0
    """
    told = {s: h.wfc_cutoff for s in elements if (h := headers.get(s)) and h.wfc_cutoff}
    kinds = {s: h.kind if (h := headers.get(s)) else "norm-conserving" for s in elements}
    needed = {s: told.get(s) or _guess(s, kinds[s]) for s in elements}
    ecutwfc = 5.0 * math.ceil(max(needed.values()) / 5.0)
    ecutrho = None
    if any(kind != "norm-conserving" for kind in kinds.values()):
        densities = [h.rho_cutoff or 0.0 for h in headers.values() if h is not None]
        ecutrho = 10.0 * math.ceil(max([DENSITY_RATIO * ecutwfc, *densities]) / 10.0)
    return PlaneWaves(
        ecutwfc=ecutwfc,
        ecutrho=ecutrho,
        told=told,
        guessed=tuple(s for s in elements if s not in told),
        kinds=tuple(sorted(set(kinds.values()))),
    )


def suggested_grid_cutoffs(elements: Sequence[str]) -> tuple[float, float]:
    """Return CP2K's cutoff of the finest grid and the relative one to begin with, Ry.

    Examples
    --------
    >>> suggested_grid_cutoffs(["Si"]), suggested_grid_cutoffs(["Ti", "O"])
    ((300.0, 40.0), (600.0, 60.0))
    """
    return (600.0, 60.0) if COMPACT & set(elements) else (300.0, 40.0)


def cutoff_doubts(
    ecutwfc: float, ecutrho: float | None, headers: Mapping[str, UpfHeader]
) -> list[str]:
    """Return where cutoffs lie below what the pseudopotentials ask for, in sentences.

    Parameters
    ----------
    ecutwfc, ecutrho
        As in the campaign file, Ry.
    headers
        Header of the pseudopotential of every element.
    """
    doubts = []
    density = ecutrho or 4.0 * ecutwfc
    for symbol, header in headers.items():
        if header.wfc_cutoff and ecutwfc < 0.98 * header.wfc_cutoff:
            doubts.append(
                f"`ecutwfc_Ry` is {ecutwfc:g}, the pseudopotential of {symbol} suggests at least "
                f"{header.wfc_cutoff:.0f} Ry."
            )
        least = header.rho_cutoff or 0.0
        if header.kind != "norm-conserving" and not header.rho_cutoff:
            least = 6.0 * ecutwfc
        if density < 0.98 * least:
            doubts.append(
                f"`ecutrho_Ry` is {density:g}, the {header.kind} pseudopotential of {symbol} needs "
                f"about {max(least, DENSITY_RATIO * ecutwfc):.0f} Ry: ultrasoft and PAW densities "
                "are sharper than 4 times the wave functions' cutoff."
            )
    return doubts


def _guess(symbol: str, kind: str) -> float:
    if kind == "norm-conserving" and symbol in CHECKED_RY:
        return CHECKED_RY[symbol]
    soft, compact = GUESSES_RY[kind]
    return compact if symbol in COMPACT else soft


__all__ = [
    "CHECKED_RY",
    "COMPACT",
    "DENSITY_RATIO",
    "GUESSES_RY",
    "MAGNETIC",
    "PlaneWaves",
    "cutoff_doubts",
    "suggested_grid_cutoffs",
    "suggested_plane_waves",
]
