"""The header of a UPF pseudopotential: its kind and the cutoffs that its maker suggests.

Version 2 has attributes of ``<PP_HEADER``, version 1 lines of text between two marks. A suggestion
of zero is none.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nepal_flows.errors import InputError

PseudoKind = Literal["norm-conserving", "ultrasoft", "PAW"]

_HEADER = re.compile(r"<PP_HEADER(.*?)(?:/>|</PP_HEADER>)", re.DOTALL)
_ATTRIBUTE = re.compile(r"(\w+)\s*=\s*[\"'](.*?)[\"']", re.DOTALL)
_LINE_OF_CUTOFFS = re.compile(r"^\s*(\S+)\s+(\S+)\s+Suggested cutoff for wfc and rho", re.MULTILINE)
_LINE_OF_KIND = re.compile(r"^\s*(NC|US|PAW)\b", re.MULTILINE)
_KINDS: dict[str, PseudoKind] = {
    "NC": "norm-conserving",
    "SL": "norm-conserving",
    "1/r": "norm-conserving",
    "US": "ultrasoft",
    "USPP": "ultrasoft",
    "PAW": "PAW",
}
_RANGES_RY = ((5.0, 1000.0), (40.0, 10000.0))
_READ_BYTES = 1 << 20


@dataclass(frozen=True)
class UpfHeader:
    """What a UPF file says of itself.

    Attributes
    ----------
    kind
        Norm-conserving, ultrasoft or PAW.
    wfc_cutoff, rho_cutoff
        Smallest cutoffs of wave functions and density that its maker suggests, Ry; None where
        there is no suggestion.
    """

    kind: PseudoKind
    wfc_cutoff: float | None
    rho_cutoff: float | None


def read_upf_header(path: str | Path) -> UpfHeader:
    """Return the header of a UPF file.

    Raises
    ------
    InputError
        If the file cannot be read or has no header.
    """
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as file:
            text = file.read(_READ_BYTES)
    except OSError as error:
        raise InputError(f"The pseudopotential `{path}` cannot be read: {error}.") from error
    found = _HEADER.search(text)
    if found is None:
        raise InputError(f"`{path}` has no `<PP_HEADER`. Give a pseudopotential in UPF format.")
    header = found.group(1)
    given = {name.lower(): value.strip() for name, value in _ATTRIBUTE.findall(header)}
    if given:
        cutoffs = (given.get("wfc_cutoff", ""), given.get("rho_cutoff", ""))
        kind = given.get("pseudo_type", "NC")
    else:
        line, word = _LINE_OF_CUTOFFS.search(header), _LINE_OF_KIND.search(header)
        cutoffs = ("", "") if line is None else (line.group(1), line.group(2))
        kind = "NC" if word is None else word.group(1)
    wfc, rho = (
        _cutoff(text, *range_Ry) for text, range_Ry in zip(cutoffs, _RANGES_RY, strict=True)
    )
    return UpfHeader(_KINDS.get(kind, "norm-conserving"), wfc, rho)


def _cutoff(text: str, smallest: float, largest: float) -> float | None:
    """Return a cutoff, Ry; some makers leave zero, or a radius, where it belongs."""
    try:
        value = float(text.replace("D", "E").replace("d", "e"))
    except ValueError:
        return None
    return value if smallest <= value <= largest else None


__all__ = ["PseudoKind", "UpfHeader", "read_upf_header"]
