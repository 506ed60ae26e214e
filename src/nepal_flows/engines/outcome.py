"""How a run of molecular dynamics may end, whichever engine runs it."""

from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal[
    "finished",
    "stopped_by_grade",
    "stopped_by_gate",
    "not_finite",
    "out_of_memory",
    "killed",
    "timed_out",
    "crashed",
]


__all__ = ["Outcome"]
