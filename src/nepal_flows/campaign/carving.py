"""The carving section of the campaign file: when and how large cells are cut up."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from nepal_flows.campaign.section import (
    Atoms,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Symbol,
)
from nepal_flows.io.formulas import parsed_bonds, parsed_formula

if TYPE_CHECKING:
    from nepal_flows.campaign.model import Campaign


class CarvingSection(Section):
    """Fragments of cells that are too large to be labelled."""

    mode: Literal["auto", "never"] = Field(
        "auto",
        description="`auto` carves cells with more than `parent_atoms` atoms; `never` labels cells "
        "of any size as they are.",
    )
    parent_atoms: Atoms = Field(1000, description="Cells with more atoms are carved.")
    method: Literal["isolated", "naive", "searched", "relaxed", "healed", "auto"] = Field(
        "auto", description="How fragments are made; `auto` keeps the best of several."
    )
    max_atoms: Atoms = Field(300, description="Most atoms of a fragment.")
    frames_per_run: PositiveInt = Field(5, description="Large frames kept of each run.")
    centres_per_frame: PositiveInt = Field(5, description="Most fragments of one frame.")
    core_radius_A: Positive | None = Field(
        None, description="What is kept around a centre; null for the model's cutoff."
    )
    vacuum_A: NonNegative = Field(10.0, description="Width that empty layers get.")
    formula: str | None = Field(
        None, description="Formula of which fragments are whole multiples, as `NaCl`."
    )
    charges_e: dict[Symbol, float] = Field(
        default_factory=dict, description="Charges, by element, under which fragments are neutral."
    )
    bonds_A: dict[str, Positive] = Field(
        default_factory=dict,
        description="Longest bonds, as `O-H: 1.2`: molecules are then kept whole.",
    )
    warm: bool = Field(
        True, description="Whether moved boundaries are rattled to the parent's forces."
    )

    @field_validator("formula")
    @classmethod
    def _formula_is_one(cls, value: str | None) -> str | None:
        if value is not None:
            parsed_formula(value)
        return value

    @field_validator("bonds_A")
    @classmethod
    def _bonds_are_pairs(cls, value: dict[str, float]) -> dict[str, float]:
        for pair, length in value.items():
            parsed_bonds(f"{pair}:{length}")
        return value

    def carves(self, n_atoms: int) -> bool:
        """Return whether cells of so many atoms are carved."""
        return self.mode == "auto" and n_atoms > self.parent_atoms


def may_carve(campaign: "Campaign") -> bool:
    """Return whether a campaign may meet cells that are carved, from its file alone.

    Where a condition does not say how many atoms it wants, its structure decides; it may.
    """
    section = campaign.carving
    factor = campaign.confirmation.size_factor
    return section.mode == "auto" and any(
        condition.start.n_atoms is None or section.carves(_most(condition.start.n_atoms, factor))
        for condition in campaign.exploration.conditions
    )


def _most(n_atoms: int | tuple[int, int], factor: float) -> int:
    """Return the atoms that a cell may have: sizes are aimed at, not met."""
    largest = n_atoms[1] if isinstance(n_atoms, tuple) else n_atoms
    return round(1.3 * factor * largest)


__all__ = ["CarvingSection", "may_carve"]
