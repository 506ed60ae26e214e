"""The campaign file: everything a campaign is asked to do, section by section.

Paths are relative to the campaign file; units are part of the names.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from nepal_flows.campaign.carving import CarvingSection
from nepal_flows.campaign.exploration import (
    ConfirmationSection,
    ExplorationSection,
    SeedsSection,
    ValidationSection,
)
from nepal_flows.campaign.force_constants import ForceConstantsSection
from nepal_flows.campaign.labels import AseLabels, LabelsSection
from nepal_flows.campaign.section import (
    LARGEST_CELL,
    Name,
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Seed,
    Symbol,
    structure_index,
)
from nepal_flows.campaign.selection import (
    ActiveSetSection,
    BudgetSection,
    ConvergenceSection,
    SelectionSection,
)
from nepal_flows.campaign.small_cells import SmallCellsSection


class StructureFile(Section):
    """A file with one starting structure."""

    file: str = Field(description="Path, relative to the campaign file; any format ASE reads.")
    name: Name | None = Field(None, description="Its name; by default the file's, without ending.")
    frame: int = Field(0, description="Which frame of the file; -1 is the last.")

    @property
    def called(self) -> str:
        """Its name, or the file's without folder and ending."""
        return self.name or self.file.replace("\\", "/").rsplit("/", 1)[-1].rsplit(".", 1)[0]


class ZblSection(Section):
    """The screened-nuclear repulsion at short distances."""

    outer_A: Positive = Field(ge=1.0, le=2.5, description="Where the repulsion ends; inner half.")


class ModelSection(Section):
    """Shape of the model: a NEP4, or force constants."""

    younger: ClassVar[frozenset[str]] = frozenset({"force_constants"})

    elements: Literal["auto"] | tuple[Symbol, ...] = Field(
        "auto", description="Elements in the order of types; `auto`: those of the structures."
    )
    cutoff_A: tuple[float, float] = Field(
        (6.0, 5.0), description="Radial and angular cutoff; 3 <= angular <= radial <= 10."
    )
    n_max: tuple[int, int] = Field(
        (4, 4), description="Largest radial index, radial and angular; at most 12 and 8."
    )
    basis_size: tuple[int, int] = Field(
        (8, 8), description="Largest Chebyshev order, radial and angular; at most 16 and 12."
    )
    l_max: tuple[int, int, int] = Field(
        (4, 0, 0),
        description="Largest l of the three-body part, then 0 or 2 (four-body) and 0 or 1 "
        "(five-body).",
    )
    neuron: int = Field(20, ge=1, le=120, description="Neurons of the hidden layer.")
    zbl: ZblSection | None = Field(None, description="Repulsion at short distances, or null.")
    force_constants: ForceConstantsSection | None = Field(
        None,
        description="A force-constant expansion instead of a NEP, for crystals whose atoms stay on "
        "their sites; it is trained dynamically, and the other keys but `elements` do not count.",
    )

    @field_validator("elements")
    @classmethod
    def _elements_once(cls, value: Any) -> Any:
        if value != "auto" and (len(value) == 0 or len(set(value)) != len(value)):
            raise ValueError(f"`elements` is {list(value)}: name each element once, or `auto`")
        return value

    @field_validator("cutoff_A")
    @classmethod
    def _cutoffs_in_range(cls, value: tuple[float, float]) -> tuple[float, float]:
        radial, angular = value
        if not 3.0 <= angular <= radial <= 10.0:
            raise ValueError(
                f"cutoffs {list(value)} are out of range: GPUMD needs 3 <= angular <= radial <= 10 "
                "(radial first)"
            )
        return value

    @field_validator("n_max", "basis_size")
    @classmethod
    def _sizes_in_range(cls, value: tuple[int, int], info: Any) -> tuple[int, int]:
        limits = {"n_max": (12, 8), "basis_size": (16, 12)}[info.field_name]
        if not all(0 <= size <= limit for size, limit in zip(value, limits, strict=True)):
            raise ValueError(
                f"{list(value)} is out of range: 0 to {limits[0]} and 0 to {limits[1]}"
            )
        return value

    @field_validator("l_max")
    @classmethod
    def _l_max_in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not (1 <= value[0] <= 8 and value[1] in (0, 1, 2) and value[2] in (0, 1)):
            raise ValueError(f"{list(value)} is out of range: l from 1 to 8, then 0 or 2, 0 or 1")
        return value


class FineTune(Section):
    """A foundation model to start from, as `nep` takes it."""

    model: str = Field(description="Its nep.txt; path relative to the campaign file.")
    restart: str = Field(description="Its nep.restart.")


class NepSection(Section):
    """Training with GPUMD's `nep`: read where `trainer` is `nep`."""

    generations: PositiveInt = Field(
        20_000, multiple_of=100, description="Generations of a cold fit in the loop."
    )
    warm_generations: PositiveInt = Field(
        5000, multiple_of=100, description="Generations of a warm fit."
    )
    final_generations: PositiveInt = Field(
        100_000, multiple_of=100, description="Generations of the long fit that is delivered."
    )
    population: int = Field(50, ge=10, le=200, description="Size of the population.")
    batch: PositiveInt = Field(1000, description="Structures per generation.")
    lambda_1: NonNegative | None = Field(
        None, description="Weight of the 1-norm of the parameters; null for the default of `nep`."
    )
    lambda_2: NonNegative | None = Field(None, description="... of the 2-norm.")
    fine_tune: FineTune | None = Field(
        None, description="Foundation model from which cold fits start; null for none."
    )
    time_limit_s: Positive | None = Field(
        None, description="Time after which a training is stopped, s; null for no limit."
    )
    checkpoint_interval_s: Positive = Field(
        300.0, description="Time between two states that are kept to go on from, s."
    )


class TrainingSection(Section):
    """How models are fitted: short fits in the loop, one long fit at the end."""

    trainer: Literal["native", "nep"] = Field(
        "native", description="Who trains: `native` is the CPU, `nep` GPUMD's on a GPU."
    )
    adam_steps: int = Field(
        2000, gt=0, le=10_000_000, description="Adam steps of a cold fit in the loop."
    )
    lbfgs_steps: int = Field(0, ge=0, le=10_000_000, description="L-BFGS steps after them.")
    learning_rate: Positive = Field(3e-2, description="Adam's first rate of a cold fit.")
    warm_start: Literal["auto", "never", "always"] = Field(
        "auto",
        description="Whether a fit begins from the previous model; `auto`: once the labels grow by "
        "less than `warm_growth` in a round.",
    )
    warm_growth: Positive = Field(0.5, description="Relative growth of the set for `auto`.")
    warm_adam_steps: int = Field(600, ge=0, le=10_000_000, description="Adam steps of a warm fit.")
    warm_lbfgs_steps: int = Field(0, ge=0, le=10_000_000, description="L-BFGS steps after them.")
    warm_learning_rate: Positive = Field(1e-2, description="Adam's first rate of a warm fit.")
    final_adam_steps: int = Field(
        8000,
        ge=0,
        le=10_000_000,
        description="Adam steps of the long fit that is delivered; warm, unless `warm_start` is "
        "`never`.",
    )
    final_lbfgs_steps: int = Field(0, ge=0, le=10_000_000, description="L-BFGS steps after them.")
    batch_atoms: int = Field(
        128, gt=0, le=LARGEST_CELL, description="Atoms in a mini-batch, about."
    )
    lambda_e: NonNegative = Field(1.0, description="Weight of energies.")
    lambda_f: NonNegative = Field(1.0, description="Weight of forces.")
    lambda_v: NonNegative = Field(0.1, description="Weight of virials.")
    reference_energies: Literal["fit"] | dict[Symbol, float] = Field(
        "fit",
        description="Energies per atom subtracted before training, eV, by element; `fit` by least "
        "squares.",
    )
    weight_decay: NonNegative = Field(
        4e-2, description="Decoupled decay of the descriptors' coefficients, over the rate."
    )
    nep: NepSection = Field(default_factory=NepSection, description="Settings of `nep`.")


class ResourcesSection(Section):
    """What this machine lends."""

    workers: int = Field(
        2, gt=0, le=1024, description="Processes side by side, for runs and labels."
    )
    memory_limit_MB: PositiveInt = Field(
        4000, ge=500, description="Memory that training and active sets may use, MB."
    )


class Campaign(Section):
    """A campaign: from starting structures to a model and its certificate."""

    younger: ClassVar[frozenset[str]] = frozenset({"small_cells"})

    version: Literal[1] = Field(1, description="Version of this file's layout.")
    name: Name = Field(description="Name of the campaign, and of its folder.")
    seed: Seed = Field(7, description="Every random number derives from it.")
    structures: tuple[StructureFile, ...] = Field(
        min_length=1, description="Starting structures: file names, or `{file: .., name: ..}`."
    )
    model: ModelSection = Field(default_factory=ModelSection, description="Shape of the model.")
    training: TrainingSection = Field(default_factory=TrainingSection, description="Fits.")
    active_set: ActiveSetSection = Field(
        default_factory=ActiveSetSection, description="The base of all grades."
    )
    seeds: SeedsSection = Field(default_factory=SeedsSection, description="First labels.")
    exploration: ExplorationSection = Field(description="Molecular dynamics.")
    small_cells: SmallCellsSection | None = Field(
        None, description="Learning in small cells, stage by stage; null for none."
    )
    carving: CarvingSection = Field(
        default_factory=CarvingSection, description="What is cut out of large cells."
    )
    selection: SelectionSection = Field(
        default_factory=SelectionSection, description="What is labelled."
    )
    labels: LabelsSection = Field(default_factory=AseLabels, description="Who labels.")
    budget: BudgetSection = Field(default_factory=BudgetSection, description="When to stop.")
    convergence: ConvergenceSection = Field(
        default_factory=ConvergenceSection, description="When it is done."
    )
    confirmation: ConfirmationSection = Field(
        default_factory=ConfirmationSection, description="The last round, in larger cells."
    )
    validation: ValidationSection | None = Field(
        None, description="Test against trajectories of the labeler; null for none."
    )
    resources: ResourcesSection = Field(
        default_factory=ResourcesSection, description="What this machine lends."
    )
    pause_before_label: bool = Field(
        False, description="Stop before labels are made, so that a person can look first."
    )

    @field_validator("labels", mode="before")
    @classmethod
    def _code_is_ase_by_default(cls, value: object) -> object:
        return {"code": "ase", **value} if isinstance(value, dict) else value

    @field_validator("structures", mode="before")
    @classmethod
    def _names_are_files(cls, value: object) -> object:
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple):
            return value
        return [{"file": item} if isinstance(item, str) else item for item in value]

    @field_validator("structures")
    @classmethod
    def _structures_named_once(cls, value: tuple[StructureFile, ...]) -> tuple[StructureFile, ...]:
        names = [item.called for item in value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"two structures are called {', '.join(twice)}: give each its own `name`"
            )
        return value

    @property
    def structure_names(self) -> tuple[str, ...]:
        """Names of the starting structures, in order."""
        return tuple(item.called for item in self.structures)

    def structure_index(self, structure: int | str) -> int:
        """Return the index of a starting structure that is given by index or name.

        Raises
        ------
        ValueError
            If there is none.
        """
        return structure_index(self.structure_names, structure)


__all__ = [
    "Campaign",
    "FineTune",
    "ModelSection",
    "NepSection",
    "ResourcesSection",
    "StructureFile",
    "TrainingSection",
    "ZblSection",
]
