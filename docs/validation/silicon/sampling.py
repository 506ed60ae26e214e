"""Frames that no training has seen: solid, liquid and with a vacancy, from three samplers.

The model's own molecular dynamics goes where the model leads; two samplers that know nothing of it
keep it honest: Tersoff's potential, and short first-principles dynamics by pw.x.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.calculators.espresso import EspressoProfile, EspressoTemplate
from ase.calculators.tersoff import Tersoff, TersoffParameters
from ase.io import read

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.structure import Structure
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.engines.teacher_md import run_teacher_md
from nepal_flows.io.structures import atoms_from_structure, structure_from_atoms
from nepal_flows.labelers import EspressoLabeler
from nepal_flows.labelers.program import run_program
from nepal_flows.records import derived_seed
from silicon.cells import cubic_cell, displaced, multiple, primitive_cell, scaled, without_atom

LATTICE_CONSTANT_A = 5.47
"""Of PBE silicon; frames that are not the model's own are made at it."""

LIQUID_VOLUME = 18.3
"""Per atom, Å^3: a liquid at 2.55 g/cm^3."""

_TERSOFF_LATTICE_CONSTANT_A = 5.432
TERSOFF = TersoffParameters(
    m=3, gamma=1.0, lambda3=0.0, c=1.0039e5, d=16.217, h=-0.59825, n=0.78734, beta=1.1e-6,
    lambda2=1.7322, B=471.18, R=2.85, D=0.15, lambda1=2.4799, A=1830.8,
)  # fmt: skip
"""J. Tersoff, Physical Review B 39, 5566 (1989)."""

_PW_TIME_UNIT_FS = 0.048377687
"""The unit of pw.x's `dt` (Rydberg atomic units), fs."""


@dataclass(frozen=True)
class Phase:
    """One class of frames.

    Attributes
    ----------
    name
        How it is called.
    temperature_K
        Of the dynamics.
    tersoff_temperature_K
        Of Tersoff's dynamics, whose silicon melts 900 K too high.
    n_vacancies
        Atoms missing.
    is_liquid
        Whether it is melted first.
    """

    name: str
    temperature_K: float
    tersoff_temperature_K: float
    n_vacancies: int = 0
    is_liquid: bool = False


PHASES = (
    Phase("solid 300 K", 300.0, 300.0),
    Phase("solid 900 K", 900.0, 900.0),
    Phase("vacancy 900 K", 900.0, 900.0, n_vacancies=1),
    Phase("liquid 1800 K", 1800.0, 2600.0, is_liquid=True),
)


@dataclass(frozen=True)
class Group:
    """Frames of one class, cell and sampler.

    Attributes
    ----------
    phase
        The class.
    shape
        ``2x2x2``: a multiple of the primitive cell; ``cubic``: 2 x 2 x 2 conventional cells.
    sampler
        ``model``, ``tersoff`` or ``pw.x``.
    n_frames
        How many.
    """

    phase: Phase
    shape: str
    sampler: str
    n_frames: int

    @property
    def name(self) -> str:
        """Name under which the frames and their labels are kept."""
        return f"frames/{self.phase.name}/{self.shape}/{self.sampler}"

    def crystal(self) -> Structure:
        """Return the cell, at the liquid's volume for the liquid, without the missing atoms."""
        if self.shape == "cubic":
            crystal = multiple(cubic_cell(LATTICE_CONSTANT_A), (2, 2, 2))
        else:
            first, second, third = (int(n) for n in self.shape.split("x"))
            crystal = multiple(primitive_cell(LATTICE_CONSTANT_A), (first, second, third))
        if self.phase.is_liquid:
            volume = crystal.volume / crystal.n_atoms
            crystal = scaled(crystal, (LIQUID_VOLUME / volume) ** (1.0 / 3.0))
        for _ in range(self.phase.n_vacancies):
            crystal = without_atom(crystal)
        return crystal

    def seed(self) -> int:
        """Return the seed of its dynamics: no campaign uses it."""
        return derived_seed("silicon validation", self.name)


def groups(sampler: str, shape: str, n_frames: int) -> list[Group]:
    """Return one group of every class."""
    return [Group(phase, shape, sampler, n_frames) for phase in PHASES]


def tersoff_frames(group: Group) -> list[Structure]:
    """Return frames of Tersoff's silicon, brought to PBE's lattice constant."""
    ratio = _TERSOFF_LATTICE_CONSTANT_A / LATTICE_CONSTANT_A
    phase = group.phase
    frames = run_teacher_md(
        scaled(group.crystal(), ratio),
        Tersoff({("Si", "Si", "Si"): TERSOFF}),
        temperature_K=phase.tersoff_temperature_K,
        n_frames=group.n_frames,
        interval_steps=100,
        seed=group.seed(),
        equilibration_steps=500 if phase.is_liquid else 300,
        melt_temperature_K=7000.0 if phase.is_liquid else None,
        melt_steps=400,
        pressure_GPa=None,
        time_step_fs=2.0,
    )
    return [scaled(frame.structure, 1.0 / ratio) for frame in frames]


def model_frames(group: Group, model: NepModel) -> list[Structure]:
    """Return frames of the model's own dynamics at zero pressure; fewer if it leaves physics."""
    phase = group.phase
    target = phase.temperature_K
    protocol = [MdSegment("npt", target, 8000)]
    burn_in = 2000
    if phase.is_liquid:
        melt = [MdSegment("nvt", 3500.0, 2000), MdSegment("npt", (3500.0, target), 4000)]
        protocol, burn_in = [*melt, *protocol], 8000
    crystal = group.crystal()
    if phase.is_liquid:
        rng = np.random.default_rng(group.seed())
        crystal = displaced(crystal, rng.normal(0.0, 0.1, (crystal.n_atoms, 3)))
    run = run_native_md(
        crystal,
        model,
        protocol,
        seed=group.seed(),
        n_audit=group.n_frames,
        time_step_fs=1.5,
        burn_in_steps=burn_in,
    )
    return [frame.structure for frame in run.audit]


def pw_frames(
    group: Group,
    start: Structure,
    labeler: EspressoLabeler,
    directory: Path,
    *,
    n_equilibration: int = 30,
    interval_steps: int = 20,
    time_step_fs: float = 2.0,
) -> list[Structure]:
    """Return frames of pw.x's own molecular dynamics, at fixed volume.

    Parameters
    ----------
    group
        How many frames, and at which temperature.
    start
        Where it begins.
    labeler
        Cutoff, pseudopotential, smearing and k-points; self-consistency is looser.
    directory
        Folder to run in.
    n_equilibration, interval_steps
        Steps before the first interval, and between two frames.
    time_step_fs
        Time step.
    """
    lists = labeler.namelists({})
    n_steps = n_equilibration + group.n_frames * interval_steps
    lists["control"] |= {
        "calculation": "md",
        "nstep": n_steps,
        "dt": time_step_fs / _PW_TIME_UNIT_FS,
        "tstress": False,
        "disk_io": "low",
    }
    lists["electrons"]["conv_thr"] = 1e-6
    lists["ions"] = {
        "ion_dynamics": "verlet",
        "pot_extrapolation": "second_order",
        "wfc_extrapolation": "first_order",
        "ion_temperature": "berendsen",
        "tempw": group.phase.temperature_K,
        "nraise": 25,
    }
    mesh = labeler.kpoints.mesh(start)
    directory.mkdir(parents=True, exist_ok=True)
    template = EspressoTemplate()  # type: ignore[no-untyped-call]
    profile = EspressoProfile(  # type: ignore[no-untyped-call]
        command=labeler.command, pseudo_dir=labeler.pseudo_directory
    )
    template.write_input(  # type: ignore[no-untyped-call]
        profile,
        directory,
        atoms_from_structure(start),
        {
            "input_data": lists,
            "pseudopotentials": dict(labeler.pseudopotentials),
            "kpts": mesh.grid,
            "koffset": tuple(int(flag) for flag in mesh.offset),
        },
        ["energy", "forces"],
    )
    run_program(
        labeler.command,
        ["-in", template.inputname],
        directory=directory,
        log=template.outputname,
    )
    images = read(directory / template.outputname, index=":", format="espresso-out")
    chosen = images[n_equilibration + interval_steps - 1 : n_steps : interval_steps]
    return [structure_from_atoms(atoms) for atoms in chosen]


__all__ = [
    "LATTICE_CONSTANT_A",
    "PHASES",
    "TERSOFF",
    "Group",
    "Phase",
    "groups",
    "model_frames",
    "pw_frames",
    "tersoff_frames",
]
