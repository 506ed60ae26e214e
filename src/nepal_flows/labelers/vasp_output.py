"""What VASP wrote: vasprun.xml for the numbers, OUTCAR for how the run went.

Units and signs as VASP has them: forces in eV/Å with their drift taken off, stress in kbar and
positive when compressed. The energy is the free energy (``e_fr_energy``, TOTEN), whose gradient the
forces are; ``e_0_energy``, which pymatgen and atomate2 call final, is not.
"""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

import numpy as np

from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import CorruptOutputError, UnconvergedLabelError
from nepal_flows.typing import FloatArray

_TOTEN = re.compile(r"free\s+energy\s+TOTEN\s+=\s+(-?\d+\.\d+)")
_DRIFT = re.compile(r"total drift:\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)\s+(-?\d+\.\d+)")
_REACHED = "aborting loop because EDIFF is reached"
_NOT_REACHED = "EDIFF was not reached"
_END = "General timing and accounting informations for this job"
_MOMENT = re.compile(r"number of electron\s+-?\d+\.\d+\s+magnetization\s+(-?\d+\.\d+)")

ENERGY_AGREEMENT_EV = 2e-5
"""Largest difference of the energies in vasprun.xml and OUTCAR."""

POSITION_AGREEMENT_A = 1e-4
"""Largest distance of an atom from where the input has it."""


@dataclass(frozen=True, eq=False)
class VaspOutput:
    """What one run of VASP wrote, in its own units, atoms in its own order.

    Attributes
    ----------
    energy
        Free energy, eV.
    energy_sigma0
        Energy extrapolated to no smearing, eV; not the one that the forces belong to.
    forces
        Forces without their drift, shape (n_atoms, 3), eV/Å.
    drift
        Sum of the forces before the drift was taken off, shape (3,), eV/Å.
    stress
        Stress, shape (3, 3), kbar, positive when compressed.
    n_scf_steps
        Iterations to self-consistency.
    potcars
        Title of the POTCAR of every element in turn.
    moment
        Magnetic moment of the cell, Bohr magnetons; None without spin.
    version
        Version of VASP.
    """

    energy: float
    energy_sigma0: float
    forces: FloatArray
    drift: FloatArray
    stress: FloatArray
    n_scf_steps: int
    potcars: tuple[str, ...]
    moment: float | None
    version: str


def read_vasp_output(directory: Path, structure: Any) -> VaspOutput:
    """Return what a static run wrote.

    Parameters
    ----------
    directory
        Holds vasprun.xml and OUTCAR, gzipped or not.
    structure
        The pymatgen structure that was asked for.

    Raises
    ------
    UnconvergedLabelError
        If self-consistency was not found.
    CorruptOutputError
        If a file is missing, cut short, of another structure, or the two contradict each other.
    LabelError
        If forces or the stress were not computed.
    """
    outcar = _outcar(directory)
    run = _vasprun(directory)
    if _NOT_REACHED in outcar or _REACHED not in outcar or not run.converged_electronic:
        raise UnconvergedLabelError("VASP's self-consistency did not converge.")
    if _END not in outcar:
        raise CorruptOutputError(f"{directory}/OUTCAR stops before its end.")
    step = run.ionic_steps[-1]
    if len(run.ionic_steps) != 1:
        raise CorruptOutputError(f"VASP moved the atoms: {len(run.ionic_steps)} ionic steps.")
    _check_structure(step["structure"], structure)
    missing = [name for name in ("forces", "stress") if step.get(name) is None]
    if missing:
        raise LabelError(
            f"VASP computed no {' and no '.join(missing)}. Remove ISIF from the INCAR."
        )
    drift, totals = _DRIFT.findall(outcar), _TOTEN.findall(outcar)
    if not drift or not totals:
        raise CorruptOutputError(f"{directory}/OUTCAR has no total drift or no energy.")
    energy = float(step["e_fr_energy"])
    if abs(energy - float(totals[-1])) > ENERGY_AGREEMENT_EV:
        raise CorruptOutputError(
            f"vasprun.xml says {energy} eV and OUTCAR {totals[-1]} eV in {directory}: they are of "
            "two runs."
        )
    moments = _MOMENT.findall(outcar)
    return VaspOutput(
        energy=energy,
        energy_sigma0=float(step["electronic_steps"][-1]["e_0_energy"]),
        forces=np.asarray(step["forces"], dtype=np.float64),
        drift=np.array([float(x) for x in drift[-1]]),
        stress=np.asarray(step["stress"], dtype=np.float64),
        n_scf_steps=len(step["electronic_steps"]),
        potcars=tuple(run.potcar_symbols),
        moment=float(moments[-1]) if moments else None,
        version=str(run.vasp_version).strip(),
    )


def _outcar(directory: Path) -> str:
    from monty.io import zopen  # noqa: PLC0415
    from monty.os.path import zpath  # noqa: PLC0415

    path = zpath(str(directory / "OUTCAR"))
    try:
        with zopen(path, mode="rt", encoding="utf-8", errors="replace") as file:
            return str(file.read())
    except (OSError, EOFError) as error:
        raise CorruptOutputError(f"{directory} has no readable OUTCAR: {error}.") from error


def _vasprun(directory: Path) -> Any:
    from monty.os.path import zpath  # noqa: PLC0415
    from pymatgen.io.vasp.outputs import Vasprun  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            run = Vasprun(
                zpath(str(directory / "vasprun.xml")),
                parse_dos=False,
                parse_eigen=False,
                parse_potcar_file=False,
            )
    except (OSError, EOFError, ParseError, ValueError, KeyError, AttributeError) as error:
        raise CorruptOutputError(f"{directory} has no readable vasprun.xml: {error!r}.") from error
    if not run.ionic_steps or not run.ionic_steps[-1].get("electronic_steps"):
        raise CorruptOutputError(f"{directory}/vasprun.xml holds no finished step.")
    return run


def _check_structure(found: Any, expected: Any) -> None:
    symbols = [site.specie.symbol for site in expected]
    if [site.specie.symbol for site in found] != symbols:
        raise CorruptOutputError("vasprun.xml holds other atoms than were asked for.")
    if np.abs(found.lattice.matrix - expected.lattice.matrix).max() > POSITION_AGREEMENT_A:
        raise CorruptOutputError("vasprun.xml holds another cell than was asked for.")
    apart = found.frac_coords - expected.frac_coords
    apart = (apart - np.round(apart)) @ expected.lattice.matrix
    if np.linalg.norm(apart, axis=1).max() > POSITION_AGREEMENT_A:
        raise CorruptOutputError("vasprun.xml holds the atoms in other places than was asked for.")


__all__ = ["VaspOutput", "read_vasp_output"]
