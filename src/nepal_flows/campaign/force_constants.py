"""A force-constant expansion as the model of a campaign: its section."""

from pydantic import Field, field_validator

from nepal_flows.campaign.section import Positive, Section


class ForceConstantsSection(Section):
    """An expansion of the energy in displacements, in place of a NEP; it needs hiPhive."""

    cutoffs_A: tuple[Positive, ...] = Field(
        min_length=1,
        max_length=5,
        description="Largest distance of two atoms of a cluster: one cutoff an order, from the "
        "second on. An even highest order keeps dynamics bounded.",
    )

    @field_validator("cutoffs_A")
    @classmethod
    def _cutoffs_fall(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(value, reverse=True):
            raise ValueError(
                f"`cutoffs_A` {list(value)} must not rise: terms of higher order reach less far"
            )
        return value

    @property
    def highest_order(self) -> int:
        """Order of the last terms."""
        return len(self.cutoffs_A) + 1


__all__ = ["ForceConstantsSection"]
