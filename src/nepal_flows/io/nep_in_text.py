"""The text of a nep.in: keywords and their values, as far as their form can be judged."""

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nepal_flows.errors import NepInputError

_PASSED_ON = frozenset(
    [
        "save_potential",
        "output_descriptor",
        "import_q_scaler",
        "seed",
        "checkpoint",
        "sigma_e",
        "sigma_f",
        "sigma_s",
        "sigma_L1",
        "sigma_L2",
        "loss_mode",
    ]
)
_MUST_BE_OFF = {
    "model_type": "models of dipoles, polarisabilities or temperature",
    "mode": "models of dipoles, polarisabilities or temperature",
    "train_mode": "models of dipoles, polarisabilities or temperature",
    "charge_mode": "models with charges",
    "use_typewise_cutoff": "type-wise cutoff factors (give `cutoff` one pair per element)",
}
_UNSUPPORTED = {
    "lambda_q": "models with charges",
    "lambda_z": "models with charges",
    "lambda_d": "models with dispersion",
    "atomic_v": "atomic dipoles and polarisabilities",
}
_INTEGERS = frozenset(
    [
        "version",
        "prediction",
        "n_max",
        "basis_size",
        "l_max",
        "neuron",
        "batch",
        "population",
        "generation",
        "output_interval",
    ]
)
_COUNTS: dict[str, tuple[int, ...]] = {
    "n_max": (2,),
    "basis_size": (2,),
    "l_max": (1, 2, 3, 4, 5, 6, 7),
    "fine_tune": (2,),
    "use_typewise_cutoff_zbl": (0, 1),
}
_ANY_COUNT = frozenset({"cutoff", "type_weight"})
_DEFAULT_ZBL_FACTOR = 0.65


@dataclass(frozen=True)
class ParsedText:
    """What the lines of a nep.in say.

    Attributes
    ----------
    values
        By keyword, as numbers; ``type`` as chemical symbols.
    others
        Keywords that only `nep` understands, with their values as text.
    given
        All keywords that were named.
    """

    values: dict[str, Any]
    others: tuple[tuple[str, str], ...]
    given: tuple[str, ...]


def parsed_text(text: str, keywords: Collection[str]) -> ParsedText:
    """Return what the lines of a nep.in say.

    Parameters
    ----------
    text
        Its content.
    keywords
        Those that have a value of ours, beside ``type``.

    Raises
    ------
    NepInputError
        If a keyword is unknown or repeated, or its values are of the wrong number or kind.
    """
    values: dict[str, Any] = {}
    others: list[tuple[str, str]] = []
    given: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        row = line.split("#", 1)[0].split()
        if not row:
            continue
        keyword, *words = row
        place = f"line {number}, `{' '.join(row)}`"
        if keyword in given:
            raise NepInputError(f"{place}: `{keyword}` was given before. Keep one of the two.")
        if keyword == "type":
            values["type"] = _elements(words, place)
        elif keyword in _PASSED_ON:
            others.append((keyword, " ".join(words)))
        elif keyword in _MUST_BE_OFF or keyword in _UNSUPPORTED:
            _refuse(keyword, words, place)
            continue
        elif keyword in keywords:
            values[keyword] = _parsed(keyword, words, place)
        else:
            raise NepInputError(
                f"{place}: `{keyword}` is no keyword of nep.in.{_hint(keyword, keywords)}"
            )
        given.append(keyword)
    if "type" not in values:
        raise NepInputError("`type` is missing. Add a line `type 2 Cu Au` with your elements.")
    return ParsedText(values, tuple(others), tuple(given))


def _refuse(keyword: str, words: list[str], place: str) -> None:
    """Refuse a keyword for models that are not supported, unless it switches them off."""
    if keyword in _MUST_BE_OFF and words == ["0"]:
        return
    reason = {**_MUST_BE_OFF, **_UNSUPPORTED}[keyword]
    raise NepInputError(f"{place}: {reason} are not supported. Remove the line.")


def _hint(keyword: str, keywords: Collection[str]) -> str:
    known = sorted({"type", *keywords, *_PASSED_ON})
    nearest = difflib.get_close_matches(keyword, known, n=1, cutoff=0.5)
    return f" Did you mean `{nearest[0]}`?" if nearest else f" Known are {', '.join(known)}."


def _elements(words: list[str], place: str) -> tuple[str, ...]:
    if not words or not words[0].isdigit() or int(words[0]) != len(words) - 1:
        raise NepInputError(f"{place}: expected `type T El1 .. ElT` with T chemical symbols.")
    return tuple(words[1:])


def _parsed(keyword: str, words: list[str], place: str) -> Any:
    """Return the value of a keyword as the type its field has."""
    if keyword == "fine_tune":
        numbers: list[Any] = list(words)
    else:
        convert = int if keyword in _INTEGERS else float
        try:
            numbers = [convert(word) for word in words]
        except ValueError as error:
            kind = "whole numbers" if convert is int else "numbers"
            raise NepInputError(f"{place}: expected {kind} after `{keyword}`.") from error
        if not all(math.isfinite(value) for value in numbers):
            raise NepInputError(f"{place}: expected finite numbers.")
    counts = _COUNTS.get(keyword, (1,))
    if keyword not in _ANY_COUNT and len(numbers) not in counts:
        raise NepInputError(
            f"{place}: {len(numbers)} values, expected {' or '.join(map(str, counts))}."
        )
    if keyword == "l_max":
        if any(numbers[3:]):
            raise NepInputError(
                f"{place}: only the first two flags after the largest l (four- and five-body) are "
                "supported. Set the others to 0."
            )
        return tuple([*numbers, 0, 0][:3])
    if keyword == "use_typewise_cutoff_zbl":
        return numbers[0] if numbers else _DEFAULT_ZBL_FACTOR
    if keyword in _ANY_COUNT or counts != (1,):
        return tuple(numbers)
    return numbers[0]


__all__ = ["ParsedText", "parsed_text"]
