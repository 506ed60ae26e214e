"""The tables `nep` writes: loss.out and {energy,force,virial,stress}_{train,test}.out.

Every table has predictions on the left and references on the right, in the order of the frames.
Energies and virials are per atom (eV/atom), forces in eV/Å, stresses in GPa with the sign of the
virial, i.e. positive when compressed. Tensor components are xx, yy, zz, xy, yz, zx. A virial that
is not known is written as -1e6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import InputError
from nepal_flows.typing import AnyArray, FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA

LOSS_COLUMNS = (
    "generation",
    "total",
    "L1",
    "L2",
    "energy_train",
    "force_train",
    "virial_train",
    "energy_test",
    "force_test",
    "virial_test",
)
"""Columns of loss.out: RMSEs in eV/atom, eV/Å and eV/atom."""

MISSING_VIRIAL = -1e6
"""What `nep` writes for a reference virial or stress that is not known."""

_ROWS = np.array([0, 1, 2, 0, 1, 2])
_COLUMNS = np.array([0, 1, 2, 1, 2, 0])


class Predicted(Protocol):
    """Energy (eV), forces (n_atoms, 3) in eV/Å and virial (3, 3) in eV of one structure."""

    @property
    def energy(self) -> float:
        """Total energy, eV."""

    @property
    def forces(self) -> FloatArray:
        """Forces, shape (n_atoms, 3), eV/Å."""

    @property
    def virial(self) -> FloatArray:
        """Virial, shape (3, 3), eV."""


@dataclass(frozen=True, eq=False)
class Parity:
    """Predictions and references of one quantity, each of shape (n_rows, n_components)."""

    predicted: FloatArray
    reference: FloatArray


def write_loss(rows: FloatArray, path: str | Path) -> Path:
    """Write loss.out from rows of shape (n, 10), see :data:`LOSS_COLUMNS`; return its path.

    Raises
    ------
    InputError
        If the rows do not have ten columns.
    """
    path = Path(path)
    path.write_text(format_loss(rows), encoding="ascii")
    return path


def format_loss(rows: FloatArray) -> str:
    """Return the text of loss.out from rows of shape (n, 10), see :data:`LOSS_COLUMNS`.

    Raises
    ------
    InputError
        If the rows do not have ten columns.
    """
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float64))
    if rows.size and rows.shape[1] != len(LOSS_COLUMNS):
        raise InputError(
            f"The history has {rows.shape[1]} columns, expected {len(LOSS_COLUMNS)}: "
            f"{', '.join(LOSS_COLUMNS)}."
        )
    lines = [
        f"{int(row[0]):<8d} " + " ".join(f"{v:.6g}" for v in row[1:]) for row in rows if len(row)
    ]
    return "".join(f"{line}\n" for line in lines)


def read_loss(path: str | Path) -> FloatArray:
    """Return the rows of loss.out, shape (n, 10), see :data:`LOSS_COLUMNS`.

    Raises
    ------
    InputError
        If the file cannot be read or has another number of columns.
    """
    return _read_table(path, len(LOSS_COLUMNS))


def write_parity_tables(
    frames: Sequence[LabelledStructure],
    predictions: Sequence[Predicted],
    directory: str | Path,
    *,
    name: str,
) -> None:
    """Write energy, force, virial and stress tables of a data set as `nep` does.

    Parameters
    ----------
    frames
        The references.
    predictions
        One per frame; energies with the same zero as those of the frames.
    directory
        Existing directory to write into.
    name
        ``train`` or ``test``: the part of the file names after the quantity.
    """
    volumes = np.array([frame.structure.volume for frame in frames])
    n_atoms = np.array([frame.n_atoms for frame in frames], dtype=np.float64)
    energies = np.array([[p.energy, f.energy] for p, f in zip(predictions, frames, strict=True)])
    predicted = _components([p.virial for p in predictions])
    reference = _components([f.virial for f in frames])
    to_GPa = EV_PER_CUBIC_ANGSTROM_TO_GPA / volumes[:, None]
    tables: dict[str, AnyArray] = {
        "energy": energies.reshape(-1, 2) / n_atoms[:, None],
        "force": np.concatenate(
            [
                np.zeros((0, 6)),
                *(
                    np.hstack([p.forces, f.forces])
                    for p, f in zip(predictions, frames, strict=True)
                ),
            ]
        ),
        "virial": _side_by_side(predicted / n_atoms[:, None], reference / n_atoms[:, None]),
        "stress": _side_by_side(predicted * to_GPa, reference * to_GPa),
    }
    for quantity, table in tables.items():
        np.savetxt(Path(directory) / f"{quantity}_{name}.out", table, fmt="%.9g")


def read_parity(path: str | Path) -> Parity:
    """Return one table of predictions and references; unknown references are NaN.

    Raises
    ------
    InputError
        If the file cannot be read or has not 2, 6 or 12 columns.
    """
    table = _read_table(path, 2, 6, 12)
    half = table.shape[1] // 2
    reference = np.where(table[:, half:] <= MISSING_VIRIAL, np.nan, table[:, half:])
    return Parity(predicted=table[:, :half], reference=reference)


def _components(tensors: Sequence[FloatArray | None]) -> FloatArray:
    """Return xx, yy, zz, xy, yz, zx of every tensor, shape (n, 6); NaN where there is none."""
    rows = [np.full(6, np.nan) if t is None else t[_ROWS, _COLUMNS] for t in tensors]
    return np.array(rows).reshape(-1, 6)


def _side_by_side(predicted: FloatArray, reference: FloatArray) -> FloatArray:
    known = np.where(np.isnan(reference), MISSING_VIRIAL, reference)
    return np.hstack([predicted, known])


def _read_table(path: str | Path, *n_columns: int) -> FloatArray:
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (OSError, ValueError) as error:
        raise InputError(f"The table `{path}` cannot be read ({error}).") from error
    if table.shape[1] not in n_columns:
        raise InputError(
            f"The table `{path}` has {table.shape[1]} columns, expected "
            f"{' or '.join(map(str, n_columns))}."
        )
    return table


__all__ = [
    "LOSS_COLUMNS",
    "MISSING_VIRIAL",
    "Parity",
    "Predicted",
    "format_loss",
    "read_loss",
    "read_parity",
    "write_loss",
    "write_parity_tables",
]
