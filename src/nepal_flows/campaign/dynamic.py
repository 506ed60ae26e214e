"""Dynamic training: trajectories that are interrupted for a label and go on from the same state."""

from typing import Literal

from pydantic import Field, model_validator

from nepal_flows.campaign.section import NonNegative, Positive, PositiveInt, Section


class DynamicSection(Section):
    """When a trajectory is interrupted; its frame is labelled, and it goes on with a new model."""

    rule: Literal["absolute", "relative"] = Field(
        "absolute",
        description="`absolute`: the largest error bar of a frame exceeds the limit; `relative`: "
        "or `factor` times its average along the trajectory, above the floor, as published.",
    )
    limit_meV_per_A: Positive = Field(
        150.0, description="Error bar of a force component at which a trajectory is interrupted."
    )
    gap_steps: PositiveInt = Field(
        20, description="Steps with a new model before the next interruption."
    )
    factor: Positive = Field(1.73, gt=1.0, description="Of the relative rule.")
    average_steps: PositiveInt = Field(1000, description="Steps that its average is over.")
    floor_meV_per_A: NonNegative = Field(
        30.0, description="Error bar up to which the relative rule does not interrupt."
    )
    expected_error_ratio: Positive = Field(
        1.5,
        ge=1.0,
        description="Force error that the bars expect on a condition's frames, over the training "
        "error: at most this much when the campaign has converged. It replaces the hold-out.",
    )

    @model_validator(mode="after")
    def _floor_below_limit(self) -> "DynamicSection":
        if self.rule == "relative" and self.floor_meV_per_A >= self.limit_meV_per_A:
            raise ValueError("`floor_meV_per_A` must lie below `limit_meV_per_A`")
        return self


__all__ = ["DynamicSection"]
