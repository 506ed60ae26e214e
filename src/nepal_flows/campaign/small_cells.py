"""Learning in small cells: the stages that a campaign walks through, and what they leave out.

The conditions of a campaign say what is done, its stages in cells of which size. A stage turns the
campaign into one whose conditions start in its cells: the loop then runs that one, and knows
nothing of stages. Two sets of defaults are known. ``published`` grows from ideal one-atom cells, a
stage ending when a whole batch saves nothing [1]_; ``recommended`` begins with rattled, strained
cells of random shape and 4 to 8 atoms, and ends with a check in large ones.

References
----------
.. [1] C. Maxwell et al., Small-cell-based fast active learning of machine learning interatomic
   potentials (2025), arXiv:2504.07293.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from nepal_flows.campaign.exploration import (
    CellMode,
    Condition,
    ExplorationSection,
    SeedsSection,
)
from nepal_flows.campaign.section import (
    Atoms,
    Name,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
)

BURN_IN_FS = 500.0
"""First stretch of a run that is neither graded nor kept, fs; a tenth of it at most."""

Mode = Literal["recommended", "published"]

AnySection = TypeVar("AnySection", bound=Section)

_PUBLISHED_SIZES = (2, 4, 6, 8, 16, 54)
_PUBLISHED_ROUNDS = 20


class SizeStage(Section):
    """One stage: cells of one size, until nothing is learnt there or its rounds are over."""

    n_atoms: Atoms | tuple[Atoms, Atoms] = Field(
        description="Atoms of its cells (before vacancies); two numbers are a range."
    )
    cells: CellMode | None = Field(
        None,
        description="Shape of its cells, as `mode` of a start; null for `folded` where the "
        "k-points of the labels fold, else `hnf` (`supercell` in mode `published`).",
    )
    conditions: tuple[Name, ...] | None = Field(
        None, description="Conditions that it explores, by name; null for all."
    )
    max_rounds: PositiveInt | None = Field(
        None,
        description="Rounds after which the next stage begins; null for as many as it takes. The "
        "last stage goes on until the campaign ends.",
    )
    labels_per_iteration: PositiveInt | None = Field(
        None, description="Most labels of one of its iterations, in place of `selection`'s."
    )
    audit_per_iteration: int | None = Field(
        None, ge=0, le=100_000, description="Frames drawn at random, in place of `selection`'s."
    )

    @model_validator(mode="after")
    def _range_rises(self) -> "SizeStage":
        if isinstance(self.n_atoms, tuple) and self.n_atoms[0] > self.n_atoms[1]:
            raise ValueError(f"`n_atoms` {list(self.n_atoms)} must be a range [smallest, largest]")
        return self

    @property
    def largest(self) -> int:
        """Most atoms of its cells."""
        return self.n_atoms[1] if isinstance(self.n_atoms, tuple) else self.n_atoms

    @property
    def words(self) -> str:
        """Its cells in words."""
        if isinstance(self.n_atoms, tuple) and self.n_atoms[0] < self.n_atoms[1]:
            return f"{self.n_atoms[0]} to {self.n_atoms[1]} atoms"
        return f"{self.largest} atom{'s' if self.largest > 1 else ''}"


class SmallCellsSection(Section):
    """Learning in small cells: stages of rising size."""

    mode: Mode = Field(
        "recommended",
        description="What fills the keys that the file leaves out, here and in `seeds`, in the "
        "starts of the conditions and in `exploration.burn_in_steps`.",
    )
    stages: tuple[SizeStage, ...] = Field(
        (), description="Sizes in rising order; left out, those of the mode."
    )
    rank_gain: Share | None = Field(
        None,
        description="A stage ends, too, once the ranks grow by less than this share of the "
        "environments added in a round; 0 for never, null for that of the mode, 0.5 or 0.",
    )
    vacancy_probability: Share | None = Field(
        None,
        description="Chance that an atom is missing from a cell of eight or more; null for that of "
        "the mode, 0.3 or 0.65.",
    )
    replica_energy_meV_per_atom: Positive = Field(
        1.0,
        description="Before the first labels a cell is compared with its supercell: largest "
        "difference of energies.",
    )
    replica_force_meV_per_A: Positive = Field(10.0, description="... and of forces.")
    label_seconds: dict[int, NonNegative] = Field(
        default_factory=dict,
        description="CPU time of labels that you have measured, s, by number of atoms, for the "
        "advice of `nepal plan`: `{2: 9, 16: 49}`.",
    )


def fitting_range(smallest: int, largest: int, unit_atoms: Sequence[int]) -> tuple[int, int]:
    """Return a range that holds a multiple of every unit cell, widened as little as it takes.

    Examples
    --------
    >>> fitting_range(6, 8, [1]), fitting_range(6, 8, [5]), fitting_range(4, 8, [12])
    ((6, 8), (5, 8), (4, 12))
    """
    low, high = smallest, largest
    for n in unit_atoms:
        if smallest <= largest // n * n:
            continue
        below, above = smallest // n * n, -(-smallest // n) * n
        if below and smallest - below <= above - largest:
            low = min(low, below)
        else:
            high = max(high, above)
    return low, high


def default_stages(mode: Mode, shape: CellMode, unit_atoms: Sequence[int]) -> tuple[SizeStage, ...]:
    """Return the stages of a mode for structures whose primitive cells have so many atoms."""
    check: CellMode = "folded" if shape == "folded" else "supercell"
    if mode == "recommended":
        return (
            SizeStage(n_atoms=fitting_range(6, 8, unit_atoms), max_rounds=4),
            SizeStage(n_atoms=fitting_range(12, 16, unit_atoms), max_rounds=2),
            SizeStage(n_atoms=max(54, *(2 * n for n in unit_atoms)), cells=check),
        )
    unit = max(unit_atoms)
    sizes = sorted({max(1, round(n / unit)) * unit for n in _PUBLISHED_SIZES})
    last = len(sizes) - 1
    return tuple(
        SizeStage(n_atoms=n, max_rounds=None if k == last else _PUBLISHED_ROUNDS)
        for k, n in enumerate(sizes)
    )


def seeds_with_defaults(
    seeds: SeedsSection,
    mode: Mode,
    shape: CellMode,
    unit_atoms: Sequence[int],
) -> SeedsSection:
    """Return the seeds with what the file leaves out filled in as a mode wants it."""
    if seeds.supercell is not None:
        return seeds
    wanted: dict[str, Any] = {
        "n": 32,
        "n_atoms": fitting_range(4, 8, unit_atoms),
        "mode": shape,
        "rattle_A": (0.05, 0.15),
        "volume_strain": 0.04,
        "shear_strain": 0.02,
    }
    if mode == "published":
        wanted = {
            "n": 21 * len(unit_atoms),
            "n_atoms": 1,
            "mode": shape,
            "rattle_A": (0.0, 0.0),
            "volume_strain": 0.0,
            "shear_strain": 0.0,
            "lattice_factor": (0.75, 1.25),
        }
    return _filled(seeds, wanted)


def exploration_with_defaults(exploration: ExplorationSection, mode: Mode) -> ExplorationSection:
    """Return the exploration with what the file leaves out filled in as a mode wants it."""
    wanted: dict[str, Any] = {"rattle_A": 0.1, "strain": 0.02}
    burn_in = round(BURN_IN_FS / exploration.time_step_fs)
    shortest = min(condition.n_steps for condition in exploration.conditions)
    if mode == "published":
        wanted = {"rattle_A": 0.0, "strain": 0.01, "volume_factor": (0.95**3, 1.05**3)}
        burn_in = 0
    conditions = tuple(
        condition.model_copy(update={"start": _filled(condition.start, wanted)})
        for condition in exploration.conditions
    )
    filled = _filled(exploration, {"burn_in_steps": min(burn_in, shortest // 10)})
    return filled.model_copy(update={"conditions": conditions})


def staged_condition(
    condition: Condition, stage: SizeStage, *, shape: CellMode, vacancy_probability: float
) -> Condition:
    """Return a condition whose runs start in the cells of a stage."""
    start = condition.start.model_copy(
        update={
            "n_atoms": stage.n_atoms,
            "mode": stage.cells or shape,
            "vacancy_probability": max(condition.start.vacancy_probability, vacancy_probability),
        }
    )
    return condition.model_copy(update={"start": start})


def _filled(section: AnySection, wanted: dict[str, Any]) -> AnySection:
    left_out = {key: value for key, value in wanted.items() if key not in section.model_fields_set}
    return section.model_copy(update=left_out)


__all__ = [
    "BURN_IN_FS",
    "SizeStage",
    "SmallCellsSection",
    "default_stages",
    "exploration_with_defaults",
    "fitting_range",
    "seeds_with_defaults",
    "staged_condition",
]
