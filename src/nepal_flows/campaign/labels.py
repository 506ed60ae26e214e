"""The labels section of the campaign file: which code labels, and how."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from nepal_flows.campaign.section import (
    NonNegative,
    Positive,
    PositiveInt,
    Section,
    Share,
    Symbol,
)

SHELL = re.compile(r"^([A-Z][a-z]?)-[2-6][pdf]$")
"""A shell with a U: `Fe-3d`."""

SAID_ELSEWHERE: Mapping[str, str] = {
    "KSPACING": "k-points follow from `labels.kpoints`",
    "KGAMMA": "k-points follow from `labels.kpoints`",
    "PSTRESS": "it would be added to the stress of every label",
    "MAGMOM": "give `labels.magnetic_moments_uB`, by element; an order of the sites cannot be "
    "carried by cells of every size",
    "NELECT": "give `labels.charge_e`",
    "LDAU": "give `labels.hubbard_U_eV`",
    "LDAUU": "give `labels.hubbard_U_eV`",
    "LDAUL": "give `labels.hubbard_U_eV`",
    "LDAUJ": "give `labels.hubbard_U_eV`, the effective U - J",
    "NSW": "a label is one self-consistent calculation",
    "IBRION": "a label is one self-consistent calculation",
    "ISIF": "a label needs forces and the whole stress",
    "IVDW": "give `labels.dispersion`",
    "LNONCOLLINEAR": "labels are collinear",
    "LSORBIT": "labels are collinear",
}
"""INCAR entries that the campaign file says in its own words, and where."""

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
        "emt",
        description="ASE's name of the calculator, or `package.module:Class`, which the site "
        "settings must allow (`calculators`).",
    )
    arguments: dict[str, Any] = Field(
        default_factory=dict, description="Arguments of the calculator."
    )


class DftLabels(LabelsBase):
    """What holds for every density-functional code."""

    kpoints: KPoints = Field(default_factory=KPoints, description="The k-point rule.")
    magnetic_moments_uB: dict[Symbol, float] | None = Field(
        None,
        description="Spin-polarised labels that begin with these moments of the elements, Bohr "
        "magnetons; elements left out begin with 0. null for labels without spin.",
    )
    hubbard_U_eV: dict[str, NonNegative] = Field(
        default_factory=dict,
        description="DFT+U: effective U (U - J) of shells, as in `Fe-3d: 4.0`; code vasp.",
    )
    dispersion: Literal["D3", "D3-BJ"] | None = Field(
        None, description="Grimme's D3 with zero or Becke-Johnson damping, two-body terms."
    )
    charge_e: float = Field(
        0.0, description="Charge of every labelled cell, against a uniform background."
    )

    @field_validator("hubbard_U_eV")
    @classmethod
    def _known_shells(cls, value: dict[str, float]) -> dict[str, float]:
        for name in value:
            if SHELL.match(name) is None:
                raise ValueError(f"`{name}` is no shell; write element and shell as in `Fe-3d`")
        if len({name.split("-")[0] for name in value}) < len(value):
            raise ValueError("an element has two shells with a U; a label can have one")
        return value


class EspressoLabels(DftLabels):
    """Labels by Quantum ESPRESSO's pw.x."""

    code: Literal["espresso"] = Field(description="Which code labels.")
    command: str = Field(
        "pw.x", description="The program; another than the site's only if the site allows it."
    )
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
    smearing_temperature_K: NonNegative = Field(
        1000.0, description="Fermi-Dirac temperature, the same for all labels."
    )
    conv_thr_Ry: Positive = Field(1e-9, description="Threshold of self-consistency.")
    mixing_beta: Positive = Field(0.5, le=1.0, description="Mixing; retries lower it.")
    input_data: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="More namelist entries: section -> name -> value."
    )


class Cp2kLabels(DftLabels):
    """Labels by CP2K (Quickstep, PBE)."""

    code: Literal["cp2k"] = Field(description="Which code labels.")
    command: str = Field(
        "cp2k.psmp", description="The program; another than the site's only if the site allows it."
    )
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
    smearing_temperature_K: NonNegative = Field(
        1000.0, description="Fermi-Dirac temperature, the same for all labels; 0 for none."
    )
    eps_scf: Positive = Field(1e-7, description="Threshold of self-consistency.")
    max_scf: PositiveInt = Field(80, description="Largest number of iterations; retries raise it.")


class VaspLabels(DftLabels):
    """Labels by VASP, through atomate2's input sets and custodian."""

    code: Literal["vasp"] = Field(description="Which code labels.")
    command: str | None = Field(
        None, description="The program; null for atomate2's VASP_CMD (ATOMATE2_VASP_CMD)."
    )
    gamma_command: str | None = Field(
        None, description="The program for Γ alone; null for atomate2's VASP_GAMMA_CMD."
    )
    input_set: str = Field(
        "StaticSetGenerator",
        pattern=r"^[A-Za-z0-9]+$",
        description="Input set of atomate2 or pymatgen that the rest comes from: "
        "`StaticSetGenerator`, `MPStaticSet`, `MatPESStaticSet`, `HSEStaticSetGenerator` ...",
    )
    functional: Literal["PBE", "PBEsol", "SCAN", "r2SCAN"] | None = Field(
        "PBE", description="The functional; null for that of the input set."
    )
    encut_eV: Positive | None = Field(
        520.0, description="Cutoff of the wave functions; null for that of the input set."
    )
    ediff_eV: Positive | None = Field(
        1e-6, description="Threshold of self-consistency; null for that of the input set."
    )
    smearing_temperature_K: Positive | None = Field(
        1000.0,
        description="Fermi-Dirac temperature, the same for all labels; null for the smearing of "
        "the input set.",
    )
    user_incar_settings: dict[str, Any] = Field(
        default_factory=dict,
        description="INCAR entries that win over all others; null takes one away.",
    )
    user_potcar_functional: str = Field(
        "PBE_54", description="Release of the POTCARs, as pymatgen names them."
    )
    user_potcar_settings: dict[Symbol, str] = Field(
        default_factory=dict, description="POTCARs in place of those of the input set: `Ti: Ti_pv`."
    )


Labels = AseLabels | EspressoLabels | Cp2kLabels | VaspLabels
"""The labels section of any code."""

LabelsSection = Annotated[Labels, Field(discriminator="code")]
"""The labels section, told apart by its `code`."""

__all__ = [
    "SAID_ELSEWHERE",
    "AseLabels",
    "Cp2kLabels",
    "DftLabels",
    "EspressoLabels",
    "KPoints",
    "Labels",
    "LabelsBase",
    "LabelsSection",
    "VaspLabels",
]
