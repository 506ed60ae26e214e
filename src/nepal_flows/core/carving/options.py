"""How fragments are carved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nepal_flows.core.carving.clashes import (
    Composition,
)
from nepal_flows.core.carving.fidelity import Acceptance
from nepal_flows.core.carving.healing import HealingOptions
from nepal_flows.errors import CarvingError

Method = Literal["isolated", "naive", "searched", "relaxed", "healed", "auto"]

METHODS: tuple[Method, ...] = ("isolated", "naive", "searched", "relaxed", "healed", "auto")


@dataclass(frozen=True)
class CarvingOptions:
    """How fragments are carved.

    Attributes
    ----------
    method
        See the module's table.
    core_radius
        What is kept as it is around the centre, Å; None for the model's largest cutoff. A smaller
        one changes what the centre feels.
    max_atoms
        Most atoms of a fragment.
    vacuum
        Width to which empty layers are extended, Å.
    isolated_shell, isolated_vacuum
        Of the isolated sphere: how much larger than the core it is, and its distance to images, Å.
    delete_below, push_below
        Shares of the usual distance below which clashing atoms are deleted and pushed.
    volume_weight
        How much a box has to fit better to be larger.
    composition
        What the fragment's composition has to be.
    bonds
        Longest bonds by pair of atomic numbers, Å: molecules are then kept whole.
    warm
        Whether healed and relaxed boundaries are rattled to the parent's forces.
    known_below
        Grade up to which the model knows an atom: where the boundary of the parent is known, the
        model's energy may relax it.
    max_enlargements
        How often a box that is not accepted is enlarged by 2 Å.
    healing
        How the boundary is moved.
    acceptance
        What a fragment may lose.
    """

    method: Method = "auto"
    core_radius: float | None = None
    max_atoms: int = 300
    vacuum: float = 10.0
    isolated_shell: float = 1.5
    isolated_vacuum: float = 9.0
    delete_below: float = 0.7
    push_below: float = 0.88
    volume_weight: float = 1.0
    composition: Composition = field(default_factory=Composition)
    bonds: Mapping[tuple[int, int], float] = field(default_factory=dict)
    warm: bool = True
    known_below: float = 10.0
    max_enlargements: int = 2
    healing: HealingOptions = field(default_factory=HealingOptions)
    acceptance: Acceptance = field(default_factory=Acceptance)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise CarvingError(
                f"`method` is {self.method!r}; expected one of {', '.join(METHODS)}."
            )
        if self.max_atoms < 1:
            raise CarvingError(f"`max_atoms` is {self.max_atoms}; give at least 1.")
        if self.core_radius is not None and not self.core_radius > 0.0:
            raise CarvingError(f"`core_radius` is {self.core_radius:g} Å; give a positive length.")


__all__ = ["METHODS", "CarvingOptions", "Method"]
