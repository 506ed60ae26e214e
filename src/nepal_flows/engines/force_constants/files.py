"""Force constants as files that hiPhive, phonopy and phono3py read."""

from pathlib import Path
from typing import Any

from nepal_flows.engines.force_constants.library import hiphive
from nepal_flows.engines.force_constants.model import ForceConstantFit
from nepal_flows.io.replacing import replaced_text
from nepal_flows.io.structures import atoms_from_structure
from nepal_flows.typing import FloatArray

POTENTIAL = "force_constants.fcp"
SECOND_ORDER = "FORCE_CONSTANTS"
THIRD_ORDER = "fc3.hdf5"
SUPERCELL = "supercell.vasp"


def write_force_constants(fit: ForceConstantFit, folder: Path) -> tuple[str, ...]:
    """Write force constants into a folder that exists; return the names of the files.

    hiPhive's potential has all orders and belongs to no cell; ``FORCE_CONSTANTS`` is the second
    order in ``supercell.vasp``, with atoms in its order; ``fc3.hdf5`` the third, where the
    expansion has one and phono3py is installed.
    """
    potential = hiphive().ForceConstantPotential(fit.basis.space, fit.parameters)
    partial = folder / (POTENTIAL + ".partial")
    potential.write(str(partial))
    partial.replace(folder / POTENTIAL)
    ideal: Any = atoms_from_structure(fit.basis.supercell)
    ideal.write(folder / SUPERCELL, format="vasp", direct=True, sort=False)
    constants = fit.basis.force_constants(fit.parameters)
    write_second_order(constants.get_fc_array(order=2), folder / SECOND_ORDER)
    written = [POTENTIAL, SECOND_ORDER, SUPERCELL]
    if len(fit.basis.cutoffs_A) > 1 and _has_phono3py():
        constants.write_to_phono3py(str(folder / THIRD_ORDER))
        written.append(THIRD_ORDER)
    return tuple(written)


def write_second_order(force_constants: FloatArray, path: Path) -> None:
    """Write force constants of the second order, shape (n_atoms, n_atoms, 3, 3), for phonopy."""
    n_atoms = len(force_constants)
    lines = [f"{n_atoms:4d} {n_atoms:4d}"]
    for i in range(n_atoms):
        for j in range(n_atoms):
            lines.append(f"{i + 1} {j + 1}")
            lines += ["".join(f"{value:22.15f}" for value in row) for row in force_constants[i, j]]
    with replaced_text(path) as stream:
        stream.write("\n".join(lines) + "\n")


def _has_phono3py() -> bool:
    try:
        import phono3py.file_IO  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


__all__ = [
    "POTENTIAL",
    "SECOND_ORDER",
    "SUPERCELL",
    "THIRD_ORDER",
    "write_force_constants",
    "write_second_order",
]
