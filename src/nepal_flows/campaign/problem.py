"""One thing that speaks against running a campaign."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PlanProblem:
    """Something that speaks against running.

    Attributes
    ----------
    level
        "error" forbids the run, "warning" does not.
    place
        Key of the campaign file.
    message
        What is wrong and what to do.
    """

    level: Literal["error", "warning"]
    place: str
    message: str


__all__ = ["PlanProblem"]
