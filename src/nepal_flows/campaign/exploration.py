"""Sections that make structures: seeds, exploration, confirmation, validation."""

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from nepal_flows.campaign.dynamic import DynamicSection
from nepal_flows.campaign.section import (
    Atoms,
    Name,
    NonNegative,
    NonNegativeInt,
    Positive,
    PositiveInt,
    Section,
    Seed,
    Share,
    Symbol,
    Temperature,
)
from nepal_flows.core.elements import atomic_number
from nepal_flows.io.run_in import body_steps

CellMode = Literal["supercell", "folded", "hnf"]


class Mix(Section):
    """A substitutional alloy: its sites are filled at random."""

    elements: tuple[Symbol, ...] = Field(
        min_length=2,
        description="Sites that hold one of these elements are filled again at random.",
    )
    fractions: Literal["random"] | tuple[NonNegative, ...] = Field(
        "random",
        description="Shares of the elements, in their order; `random` draws a new composition, "
        "uniformly among all, for every structure.",
    )

    @model_validator(mode="after")
    def _fractions_fit(self) -> "Mix":
        if len(set(self.elements)) != len(self.elements):
            raise ValueError("`elements` names an element twice")
        if self.fractions != "random":
            if len(self.fractions) != len(self.elements):
                raise ValueError(
                    f"`fractions` has {len(self.fractions)} values, `elements` {len(self.elements)}"
                )
            if abs(sum(self.fractions) - 1.0) > 1e-6:
                raise ValueError(f"`fractions` add up to {sum(self.fractions):g}, not 1")
        return self


class CellChoice(Section):
    """How large a cell is made of a starting structure, and of which shape."""

    n_atoms: Atoms | tuple[Atoms, Atoms] | None = Field(
        None,
        description="Atoms to aim at (before vacancies): the whole number of unit cells that comes "
        "nearest. Two numbers are a range from which every structure draws.",
    )
    supercell: tuple[Atoms, Atoms, Atoms] | None = Field(
        None, description="Repeats along the structure's own cell vectors, instead of `n_atoms`."
    )
    mode: CellMode = Field(
        "supercell",
        description="Shape for `n_atoms`: `supercell` is the most cube-like cell, `folded` a "
        "diagonal multiple whose repeats divide the k-point grid (so that grids fold onto each "
        "other; 1, 2, 4 where labels have no k-points), "
        "`hnf` a random cell shape (Hermite normal form), drawn anew every time.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> "CellChoice":
        if self.n_atoms is not None and self.supercell is not None:
            raise ValueError("give `n_atoms` or `supercell`, not both")
        if isinstance(self.n_atoms, tuple) and self.n_atoms[0] > self.n_atoms[1]:
            raise ValueError(f"`n_atoms` {list(self.n_atoms)} must be a range [smallest, largest]")
        if self.supercell is not None and self.mode != "supercell":
            raise ValueError(f"mode `{self.mode}` chooses the cell itself: give `n_atoms` instead")
        return self


class SeedsSection(CellChoice):
    """The structures that are labelled before the first model exists."""

    younger: ClassVar[frozenset[str]] = frozenset({"lattice_factor"})

    n: int = Field(8, ge=0, le=100_000, description="Number of seeds; 0 when labels are imported.")
    structures: tuple[int | str, ...] | None = Field(
        None, description="Starting structures to use, by name or index, in turn; all by default."
    )
    n_atoms: Atoms | tuple[Atoms, Atoms] | None = Field(
        32, description="Atoms to aim at; two numbers are a range."
    )
    rattle_A: tuple[NonNegative, NonNegative] = Field(
        (0.03, 0.15),
        description="Standard deviation of the random displacements, from the first seed to the "
        "last (hot seeds teach what crystals cannot).",
    )
    volume_strain: NonNegative = Field(
        0.04, lt=0.5, description="Largest relative change of volume, drawn uniformly."
    )
    shear_strain: NonNegative = Field(
        0.02, lt=0.5, description="Standard deviation of every strain component, volume kept."
    )
    vacancy_probability: Share = Field(
        0.0, description="Chance that one atom is missing, in cells of eight atoms or more."
    )
    lattice_factor: tuple[Positive, Positive] | None = Field(
        None,
        description="Lengths over those of the structure, in even steps from the first seed of a "
        "structure to its last; null for none.",
    )
    mix: Mix | None = Field(None, description="Random occupation, for alloys.")

    @model_validator(mode="before")
    @classmethod
    def _supercell_replaces_default(cls, data: object) -> object:
        if isinstance(data, dict) and data.get("supercell") is not None and "n_atoms" not in data:
            return {**data, "n_atoms": None}
        return data

    @model_validator(mode="after")
    def _sizes_ordered(self) -> "SeedsSection":
        if self.rattle_A[0] > self.rattle_A[1]:
            raise ValueError(f"`rattle_A` {list(self.rattle_A)} must be [smallest, largest]")
        return self


class Start(CellChoice):
    """Where the runs of one condition begin; drawn anew for every replica and round."""

    younger: ClassVar[frozenset[str]] = frozenset({"vacancy_probability"})

    structure: int | str = Field(0, description="Starting structure, by name or index.")
    volume_factor: Positive | tuple[Positive, Positive] = Field(
        1.0,
        description="Volume over that of the structure; two numbers are a range from which every "
        "run draws.",
    )
    strain: NonNegative = Field(
        0.0, lt=0.5, description="Standard deviation of a random strain (full tensor, volume kept)."
    )
    rattle_A: NonNegative = Field(0.02, description="Standard deviation of the displacements.")
    vacancies: NonNegativeInt = Field(0, description="Atoms removed at random.")
    vacancy_probability: Share = Field(
        0.0, description="Chance that one atom more is missing, in cells of eight atoms or more."
    )
    mix: Mix | None = Field(None, description="Random occupation, for alloys.")

    @field_validator("volume_factor")
    @classmethod
    def _range_rises(cls, value: float | tuple[float, float]) -> float | tuple[float, float]:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"`volume_factor` {list(value)} must be [smallest, largest]")
        return value


class Stage(Section):
    """One stretch of molecular dynamics."""

    ensemble: Literal["nve", "nvt", "npt"] = Field(
        "npt", description="Ensemble; npt changes the volume isotropically."
    )
    temperature_K: Temperature | tuple[Temperature, Temperature] = Field(
        description="Temperature, or a ramp [from, to]."
    )
    pressure_GPa: float | tuple[float, float] = Field(
        0.0, description="Pressure of npt, or a ramp [from, to]."
    )
    steps: PositiveInt = Field(description="Steps of molecular dynamics.")

    @property
    def temperatures_K(self) -> tuple[float, float]:
        """First and last temperature."""
        value = self.temperature_K
        return value if isinstance(value, tuple) else (value, value)

    @property
    def pressures_GPa(self) -> tuple[float, float]:
        """First and last pressure."""
        value = self.pressure_GPa
        return value if isinstance(value, tuple) else (value, value)


class Condition(Section):
    """A starting structure with a protocol of temperature and pressure."""

    name: Name = Field(description="Its name on the report.")
    start: Start = Field(default_factory=Start, description="Where its runs begin.")
    stages: tuple[Stage, ...] = Field((), description="What its runs do, in order.")
    run_in: str | None = Field(
        None,
        description="Body of a run.in of GPUMD instead of `stages`, for what they cannot say "
        "(deformation, Monte Carlo, heat flow): every line that stands after `potential`. It is "
        "taken as it is; grading and output are put in before every `run`.",
    )
    replicas: int = Field(1, gt=0, le=100_000, description="Independent runs per round.")
    extreme: bool = Field(
        False, description="Whether its allowance is `exceedance_extreme` (melts, quenches)."
    )

    @model_validator(mode="after")
    def _one_protocol(self) -> "Condition":
        if bool(self.stages) == (self.run_in is not None):
            raise ValueError("give either `stages` or `run_in`")
        if self.run_in is not None:
            body_steps(self.run_in)
        return self

    @property
    def n_steps(self) -> int:
        """Steps of one run."""
        if self.run_in is not None:
            return body_steps(self.run_in)
        return sum(stage.steps for stage in self.stages)


class GateSection(Section):
    """The physics gate: what ends a run and bars a frame from being labelled."""

    min_distance_factor: Positive = Field(
        0.6, lt=1.0, description="Smallest distance, over the sum of the two covalent radii."
    )
    min_distance_A: dict[str, Positive] = Field(
        default_factory=dict,
        description="Smallest distance of single pairs, as `Cu-Au: 1.6`, instead of the factor.",
    )
    volume_ratio: tuple[Positive, Positive] = Field(
        (0.6, 1.7), description="Smallest and largest volume, over that of the start."
    )
    temperature_factor: Positive = Field(
        3.0, description="Largest kinetic temperature, over the set one, for many atoms."
    )
    temperature_margin_K: NonNegative = Field(1500.0, description="... plus this.")

    @field_validator("min_distance_A")
    @classmethod
    def _pairs_known(cls, value: dict[str, float]) -> dict[str, float]:
        for pair in value:
            symbols = pair.split("-")
            if len(symbols) != 2:
                raise ValueError(f"`{pair}` is not a pair of elements: write `Cu-Au`")
            for symbol in symbols:
                atomic_number(symbol)
        return value

    @field_validator("volume_ratio")
    @classmethod
    def _ratio_spans_one(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < 1.0 < value[1]:
            raise ValueError(f"`volume_ratio` {list(value)} must enclose 1, as [0.6, 1.7]")
        return value


class GpumdSection(Section):
    """Exploration with GPUMD: read where `engine` is `gpumd`."""

    time_limit_s: Positive | None = Field(
        None, description="Time after which a run is stopped, s; null for no limit."
    )


class ExplorationSection(Section):
    """Molecular dynamics with the newest model, looking for what it does not know."""

    younger: ClassVar[frozenset[str]] = frozenset({"dynamic"})

    engine: Literal["native", "gpumd"] = Field(
        "native", description="Who runs it: `native` is the CPU, `gpumd` GPUMD on a GPU."
    )
    time_step_fs: Positive = Field(2.0, le=20.0, description="Time step.")
    check_interval: PositiveInt = Field(10, description="Steps between gradings of a frame.")
    burn_in_steps: NonNegativeInt = Field(
        0, description="First steps of a run that are neither graded nor kept."
    )
    gamma_low: Positive = Field(
        5.0, gt=1.0, description="Grade above which an environment is unknown."
    )
    gamma_stop: Positive | None = Field(
        None,
        description="Grade at which a run stops. null leaves stopping to the physics gate, which "
        "is better: a stop at 10 starves the loop of hot frames.",
    )
    candidate_ceiling: Positive = Field(
        1000.0, description="Frames graded above this are rejected as exploded."
    )
    candidates_per_run: int = Field(
        25, gt=0, le=100_000, description="Frames kept of each run, thinned."
    )
    thermostat_time_fs: Positive = Field(100.0, description="Relaxation time of the thermostat.")
    barostat_time_fs: Positive = Field(1000.0, description="Relaxation time of the barostat.")
    bulk_modulus_GPa: Positive = Field(
        100.0, description="Rough bulk modulus, which scales the barostat."
    )
    dynamic: DynamicSection | None = Field(
        None,
        description="Dynamic training: trajectories are interrupted where error bars are too "
        "large, and go on after the label; needs the criterion `bayes`. null for rounds.",
    )
    gate: GateSection = Field(default_factory=GateSection, description="The physics gate.")
    gpumd: GpumdSection = Field(default_factory=GpumdSection, description="Limits of GPUMD.")
    conditions: tuple[Condition, ...] = Field(min_length=1, description="What is explored.")

    @model_validator(mode="after")
    def _names_unique_and_levels_apart(self) -> "ExplorationSection":
        names = [condition.name for condition in self.conditions]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two conditions are called {', '.join(f'`{n}`' for n in twice)}")
        bodies = [c.name for c in self.conditions if c.run_in is not None]
        if bodies and self.engine != "gpumd":
            raise ValueError(f"condition `{bodies[0]}` has a `run_in`, which needs `engine: gpumd`")
        if self.candidate_ceiling <= self.gamma_low:
            raise ValueError("`candidate_ceiling` must lie above `gamma_low`")
        if self.gamma_stop is not None and self.gamma_stop <= self.gamma_low:
            raise ValueError("`gamma_stop` must lie above `gamma_low`")
        return self


class ConfirmationSection(Section):
    """The last round: every condition once more, in a larger cell, with unused seeds."""

    size_factor: Positive = Field(
        3.0, ge=1.0, le=1e4, description="Atoms over those of the exploration's cells."
    )
    replicas: int = Field(1, gt=0, le=100_000, description="Runs of every condition.")
    steps_factor: Positive = Field(1.0, le=1e4, description="Steps over those of the exploration.")


class TeacherRun(Section):
    """One trajectory of the labeler itself, whose frames no training sees."""

    name: Name = Field(description="Its name on the report.")
    temperature_K: Positive = Field(description="Temperature of the recorded frames.")
    melt_temperature_K: Positive | None = Field(
        None, description="Melt at this temperature first; null for a crystal."
    )
    melt_steps: PositiveInt = Field(2000, description="Steps of the melting.")
    pressure_GPa: float = Field(0.0, description="Pressure.")
    equilibration_steps: PositiveInt = Field(500, description="Steps before the first frame.")
    frames: int = Field(20, gt=0, le=100_000, description="Frames compared.")
    interval_steps: PositiveInt = Field(50, description="Steps between frames.")
    limit_meV_per_A: Positive | None = Field(
        None, description="Force error that counts as reached, for this trajectory."
    )

    @property
    def n_steps(self) -> int:
        """Force calls of the teacher."""
        melt = self.melt_steps if self.melt_temperature_K is not None else 0
        return melt + self.equilibration_steps + self.frames * self.interval_steps


class ValidationSection(Section):
    """A test against fresh trajectories of the labeler (for cheap teachers only)."""

    structure: int | str = Field(0, description="Starting structure, by name or index.")
    n_atoms: Atoms = Field(108, description="Atoms to aim at.")
    mix: Mix | None = Field(None, description="Random occupation, for alloys.")
    time_step_fs: Positive = Field(2.0, description="Time step.")
    seed: Seed = Field(1000, description="Seed; `nepal run --validation-seed` replaces it.")
    runs: tuple[TeacherRun, ...] = Field(min_length=1, description="The trajectories.")
    limit_meV_per_A: Positive | None = Field(
        None, description="Force error that counts as reached, over all trajectories."
    )


__all__ = [
    "CellChoice",
    "CellMode",
    "Condition",
    "ConfirmationSection",
    "ExplorationSection",
    "GateSection",
    "GpumdSection",
    "Mix",
    "SeedsSection",
    "Stage",
    "Start",
    "TeacherRun",
    "ValidationSection",
]
