"""What every section of a campaign file has in common."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from nepal_flows.core.elements import SYMBOLS, atomic_number
from nepal_flows.schemas.base import Travelling


class Section(Travelling):
    """A section: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=False
    )

    younger: ClassVar[frozenset[str]] = frozenset()
    """Keys that are younger than stored documents. At their defaults they are left out when a
    section is written down, so that the hashes of older campaigns stay what they were."""

    @model_serializer(mode="wrap")
    def _without_younger_defaults(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = written(self)
        fields = type(self).model_fields
        for name in self.younger & content.keys():
            if getattr(self, name) == fields[name].get_default(call_default_factory=True):
                del content[name]
        return content


def _known_symbol(value: object) -> object:
    if isinstance(value, bool) or value is None:
        hint = "quote it as in 'No'" if value is False else "quote it"
        raise ValueError(f"YAML reads this symbol as `{value}`; {hint}")
    if isinstance(value, str):
        try:
            atomic_number(value)
        except ValueError as error:
            match = value.strip().capitalize()
            near = f" Did you mean `{match}`?" if match in SYMBOLS[1:] else ""
            raise ValueError(f"{error}{near}") from None
    return value


Symbol = Annotated[str, BeforeValidator(_known_symbol)]
"""A chemical symbol."""

LARGEST_COUNT = 1_000_000_000
"""Most of anything that is counted: steps, frames, labels. Two microseconds of dynamics."""

LARGEST_CELL = 1_000_000
"""Most atoms of a cell: what one machine can hold and move."""

Temperature = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
PositiveInt = Annotated[int, Field(gt=0, le=LARGEST_COUNT)]
NonNegativeInt = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0)]
Atoms = Annotated[int, Field(gt=0, le=LARGEST_CELL)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=60)]
"""A name that may become part of a file name."""


def structure_index(names: Sequence[str], structure: int | str) -> int:
    """Return the index of a starting structure that is given by index or name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(structure, str):
        if structure not in names:
            raise ValueError(f"there is no structure `{structure}`; there are {', '.join(names)}")
        return list(names).index(structure)
    if not 0 <= structure < len(names):
        raise ValueError(f"there is no structure {structure}; indices are 0 to {len(names) - 1}")
    return structure


__all__ = [
    "LARGEST_CELL",
    "LARGEST_COUNT",
    "Atoms",
    "Name",
    "NonNegative",
    "NonNegativeInt",
    "Positive",
    "PositiveInt",
    "Section",
    "Seed",
    "Share",
    "Symbol",
    "Temperature",
    "structure_index",
]
