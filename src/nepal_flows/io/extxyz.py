"""Extended XYZ, written so that GPUMD's `nep` and ASE's getters read the same labels.

`nep` reads ``energy`` (eV), ``forces`` (eV/Å) and ``virial`` (nine numbers, eV, positive when
compressed); ASE's getters read ``energy``, ``forces`` and ``stress`` (nine numbers, eV/Å^3,
positive in tension). Both are written, from one virial.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError
from nepal_flows.io.replacing import replaced_text
from nepal_flows.typing import AnyArray, FloatArray

InfoValue: TypeAlias = bool | int | float | str | AnyArray
"""What may stand on the comment line of a frame."""

_RESERVED = {"lattice", "pbc", "properties", "energy", "free_energy", "virial", "stress", "forces"}


def write_extxyz(
    frames: Sequence[Structure | LabelledStructure],
    path: str | Path,
    *,
    info: Sequence[Mapping[str, InfoValue]] | None = None,
    arrays: Sequence[Mapping[str, AnyArray]] | None = None,
) -> Path:
    """Write frames to an extended XYZ file and return its path.

    Parameters
    ----------
    frames
        Structures, with labels or without.
    path
        Where to write; an existing file is replaced once the new one is complete.
    info
        Further values for the comment line, one mapping per frame.
    arrays
        Further per-atom columns, one mapping per frame; each (n_atoms,) or (n_atoms, m).

    Raises
    ------
    InputError
        If `info` or `arrays` do not fit the frames or use a name that is reserved.
    """
    for name, extra in (("info", info), ("arrays", arrays)):
        if extra is not None and len(extra) != len(frames):
            raise InputError(f"`{name}` has {len(extra)} entries for {len(frames)} frames.")
    path = Path(path)
    with replaced_text(path) as file:
        for index, frame in enumerate(frames):
            file.write(
                format_extxyz_frame(
                    frame,
                    info=info[index] if info is not None else {},
                    arrays=arrays[index] if arrays is not None else {},
                )
            )
    return path


def format_extxyz_frame(
    frame: Structure | LabelledStructure,
    *,
    info: Mapping[str, InfoValue],
    arrays: Mapping[str, AnyArray],
) -> str:
    """Return the text of one frame; see :func:`write_extxyz`."""
    reserved = sorted(name for name in (*info, *arrays) if name.lower() in _RESERVED)
    if reserved:
        raise InputError(f"{', '.join(reserved)} cannot be written as extra values: reserved.")
    structure = frame.structure if isinstance(frame, LabelledStructure) else frame
    comment = [
        f'Lattice="{_joined(structure.cell.ravel())}"',
        f'pbc="{" ".join("T" if periodic else "F" for periodic in structure.pbc)}"',
    ]
    columns: dict[str, AnyArray] = {"pos": structure.positions}
    if isinstance(frame, LabelledStructure):
        comment += _label_items(frame)
        columns["forces"] = frame.forces
    columns.update(arrays)
    comment += [f"{name}={_formatted(value)}" for name, value in info.items()]
    properties, texts = _formatted_columns(columns, structure.n_atoms)
    comment.insert(2, f"Properties=species:S:1:{properties}")
    symbols = [f"{SYMBOLS[number]:2s}" for number in structure.numbers]
    rows = [" ".join(row) for row in zip(symbols, *texts, strict=True)]
    return "\n".join([str(structure.n_atoms), " ".join(comment), *rows]) + "\n"


def _label_items(frame: LabelledStructure) -> list[str]:
    items = [f"energy={frame.energy!r}", f"free_energy={frame.energy!r}"]
    if frame.virial is not None:
        stress = -0.5 * (frame.virial + frame.virial.T) / frame.structure.volume
        items.append(f'virial="{_joined(frame.virial.ravel())}"')
        items.append(f'stress="{_joined(stress.ravel())}"')
    if frame.weight != 1.0:
        items.append(f"weight={float(frame.weight)!r}")
    return items


def _formatted_columns(
    columns: Mapping[str, AnyArray], n_atoms: int
) -> tuple[str, list[list[str]]]:
    """Return the ``Properties`` entries and, per column, the text of every atom."""
    properties, texts = [], []
    for name, values in columns.items():
        array = np.asarray(values)
        if len(array) != n_atoms or array.ndim > 2 or array.dtype.kind not in "fiub":
            raise InputError(
                f"The per-atom array `{name}` has shape {array.shape} and type {array.dtype}, "
                f"expected numbers of shape ({n_atoms},) or ({n_atoms}, m)."
            )
        table = array.reshape(n_atoms, -1)
        kind, form = ("R", "%.10f") if array.dtype.kind == "f" else ("I", "%d")
        if array.dtype.kind == "b":
            kind, form = "L", "%s"
            table = np.where(table, "T", "F")
        elif name not in {"pos", "forces"} and kind == "R":
            form = "%.10g"
        properties.append(f"{name}:{kind}:{table.shape[1]}")
        texts.append([" ".join(form % value for value in row) for row in table.tolist()])
    return ":".join(properties), texts


def _joined(values: FloatArray | Iterable[float]) -> str:
    return " ".join(repr(float(value)) for value in values)


def _formatted(value: InfoValue) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "T" if value else "F"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return repr(float(value))
    if isinstance(value, str):
        is_plain = value and all(letter.isalnum() or letter in "._-+:/" for letter in value)
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return value if is_plain else f'"{escaped}"'
    return f'"{_joined(np.asarray(value).ravel())}"'


__all__ = ["InfoValue", "format_extxyz_frame", "write_extxyz"]
