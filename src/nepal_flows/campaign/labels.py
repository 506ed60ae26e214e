"""The labels section of the campaign file: which code labels, and how."""

from typing import Annotated, Any, Literal

from pydantic import Field

from nepal_flows.campaign.section import (
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
    Symbol,
)

GridPoints = Annotated[int, Field(gt=0, le=200)]


class KPoints(Section):
    """One k-point rule for cells of every size."""

    mode: Literal["folded", "spacing"] = Field(
        "folded",
        description="`folded`: every cell is a diagonal multiple of the first structure, and its "
        "grid is `grid` divided by the repeats. `spacing`: the grid follows from `spacing_per_A`; "
        "check first that cells of several sizes agree.",
    )
    grid: tuple[GridPoints, GridPoints, GridPoints] = Field(
        (6, 6, 6), description="Grid of the primitive cell (folded)."
    )
    offset: tuple[bool, bool, bool] = Field(
        (False, False, False),
        description="Whether the grid is shifted by half a step; false centres it on Γ. In fcc, "
        "bcc and hexagonal primitive cells a shift breaks the symmetry of the crystal.",
    )
    spacing_per_A: Positive = Field(
        0.2, description="Largest distance of k-points, 1/Å, with the factor 2 pi (spacing)."
    )


class LabelsBase(Section):
    """What holds for every code."""

    time_limit_s: Positive = Field(600.0, description="A label that takes longer is killed.")
    max_failed_fraction: Share = Field(
        0.2, description="Share of failed labels above which the campaign stops as failed."
    )
    retries: int = Field(
        2,
        ge=0,
        le=100,
        description="Further tries of a failed label; they change convergence helpers only.",
    )
    max_net_force_eV_per_A: Positive | None = Field(
        None, description="Largest |sum F| / sqrt(n_atoms); null for the code's own default."
    )
    max_force_eV_per_A: Positive | None = Field(
        None, description="Labels with a larger force are quarantined; null for no limit."
    )


class AseLabels(LabelsBase):
    """Labels by any calculator that ASE can build."""

    code: Literal["ase"] = Field("ase", description="Which code labels.")
    calculator: str = Field(
        "emt", description="ASE's name of the calculator, or `package.module:Class`."
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the calculator."
    )


class EspressoLabels(LabelsBase):
    """Labels by Quantum ESPRESSO's pw.x."""

    code: Literal["espresso"] = Field(description="Which code labels.")
    command: str = Field("pw.x", description="The program.")
    pseudo_dir: str | None = Field(
        None, description="Folder of the pseudopotentials; null asks ESPRESSO_PSEUDO or the site."
    )
    pseudopotentials: dict[Symbol, str] = Field(
        default_factory=dict, description="UPF file of every element."
    )
    ecutwfc_Ry: Positive = Field(
        30.0, ge=5.0, le=1000.0, description="Cutoff of the wave functions."
    )
    ecutrho_Ry: Positive | None = Field(
        None, ge=20.0, le=10000.0, description="Cutoff of the density; null for 4 x."
    )
    kpoints: KPoints = Field(default_factory=KPoints, description="The k-point rule.")
    smearing_temperature_K: NonNegative = Field(
        1000.0, description="Fermi-Dirac temperature, the same for all labels."
    )
    conv_thr_Ry: Positive = Field(1e-9, description="Threshold of self-consistency.")
    mixing_beta: Positive = Field(0.5, le=1.0, description="Mixing; retries lower it.")
    input_data: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="More namelist entries: section -> name -> value."
    )


class Cp2kLabels(LabelsBase):
    """Labels by CP2K (Quickstep, PBE)."""

    code: Literal["cp2k"] = Field(description="Which code labels.")
    command: str = Field("cp2k.psmp", description="The program.")
    basis: dict[Symbol, str] = Field(
        default_factory=dict,
        description="Basis set of every element; by default DZVP-MOLOPT-SR-GTH.",
    )
    potentials: dict[Symbol, str] = Field(
        default_factory=dict, description="Pseudopotential of every element; by default GTH-PBE."
    )
    basis_file: str = Field("BASIS_MOLOPT", description="File of the basis sets.")
    potential_file: str = Field("GTH_POTENTIALS", description="File of the pseudopotentials.")
    cutoff_Ry: Positive = Field(
        300.0, ge=20.0, le=10000.0, description="Cutoff of the finest grid."
    )
    rel_cutoff_Ry: Positive = Field(40.0, description="Relative cutoff.")
    kpoints: KPoints = Field(default_factory=KPoints, description="The k-point rule.")
    smearing_temperature_K: NonNegative = Field(
        1000.0, description="Fermi-Dirac temperature, the same for all labels; 0 for none."
    )
    eps_scf: Positive = Field(1e-7, description="Threshold of self-consistency.")
    max_scf: PositiveInt = Field(80, description="Largest number of iterations; retries raise it.")


LabelsSection = Annotated[AseLabels | EspressoLabels | Cp2kLabels, Field(discriminator="code")]
"""The labels section, told apart by its `code`."""

__all__ = [
    "AseLabels",
    "Cp2kLabels",
    "EspressoLabels",
    "KPoints",
    "LabelsBase",
    "LabelsSection",
]
