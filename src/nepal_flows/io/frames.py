"""Frames as bytes: one compressed npz, equal bytes for equal content.

What travels between jobs (candidates, audit frames, data sets, traces) is stored by the hash of
its bytes, so the archive carries no time stamp and its members are sorted.
"""

import io
import itertools
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import AnyArray

_EPOCH = (1980, 1, 1, 0, 0, 0)
_FRAME, _ATOM = "frame.", "atom."


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames with what was stored beside them.

    Attributes
    ----------
    structures
        The configurations.
    labelled
        The same with their labels; empty if the frames carry none.
    scalars
        One value (or row) per frame, by name; first axis n_frames.
    arrays
        Per-atom arrays by name, one per frame; first axis n_atoms of the frame.
    """

    structures: tuple[Structure, ...]
    labelled: tuple[LabelledStructure, ...] = ()
    scalars: dict[str, AnyArray] = field(default_factory=dict)
    arrays: dict[str, tuple[AnyArray, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.structures)


def pack_frames(
    frames: Sequence[Structure | LabelledStructure],
    *,
    scalars: Mapping[str, Sequence[object] | AnyArray] | None = None,
    arrays: Mapping[str, Sequence[AnyArray]] | None = None,
) -> bytes:
    """Return frames as bytes; equal frames give equal bytes.

    Parameters
    ----------
    frames
        All with labels, or all without; none at all is allowed.
    scalars
        Values per frame (numbers, truth values or strings), first axis n_frames.
    arrays
        Per-atom arrays, for every name one per frame.

    Raises
    ------
    InputError
        If labelled and unlabelled frames are mixed, or lengths do not fit.
    """
    labelled = [frame for frame in frames if isinstance(frame, LabelledStructure)]
    if labelled and len(labelled) != len(frames):
        raise InputError(
            f"{len(labelled)} of {len(frames)} frames have labels. Pack them separately."
        )
    structures = [f.structure if isinstance(f, LabelledStructure) else f for f in frames]
    members = _structure_members(structures)
    if labelled:
        members |= _label_members(labelled)
    for name, values in (scalars or {}).items():
        array = np.asarray(values)
        if len(array) != len(frames) or array.dtype.kind not in "fiubU":
            raise InputError(
                f"`{name}` has {len(array)} values of type {array.dtype} for {len(frames)} frames; "
                "expected one number or string per frame."
            )
        members[_FRAME + name] = array
    for name, blocks in (arrays or {}).items():
        if [len(block) for block in blocks] != [s.n_atoms for s in structures]:
            raise InputError(f"`{name}` does not hold one row per atom of every frame.")
        members[_ATOM + name] = np.concatenate(blocks) if len(blocks) else np.zeros(0)
    return pack_arrays(members)


def unpack_frames(data: bytes) -> Frames:
    """Return the frames packed by :func:`pack_frames`.

    Raises
    ------
    InputError
        If the bytes are not packed frames.
    """
    members = unpack_arrays(data)
    try:
        n_atoms = members["n_atoms"]
        columns = [members[name] for name in ("numbers", "positions", "cell", "pbc")]
    except KeyError as error:
        raise InputError(f"The data hold no frames: the member {error} is missing.") from error
    bounds = np.concatenate([[0], np.cumsum(n_atoms)])
    slices = [slice(*pair) for pair in itertools.pairwise(bounds)]
    numbers, positions, cell, pbc = columns
    structures = tuple(
        Structure(numbers[part], positions[part], cell[i], (pbc[i, 0], pbc[i, 1], pbc[i, 2]))
        for i, part in enumerate(slices)
    )
    labelled: tuple[LabelledStructure, ...] = ()
    if "energy" in members:
        labelled = tuple(
            LabelledStructure(
                structure,
                energy=float(members["energy"][i]),
                forces=members["forces"][slices[i]],
                virial=members["virial"][i] if members["has_virial"][i] else None,
                weight=float(members["weight"][i]),
            )
            for i, structure in enumerate(structures)
        )
    scalars = {n[len(_FRAME) :]: a for n, a in members.items() if n.startswith(_FRAME)}
    arrays = {
        name[len(_ATOM) :]: tuple(array[part] for part in slices)
        for name, array in members.items()
        if name.startswith(_ATOM)
    }
    return Frames(structures=structures, labelled=labelled, scalars=scalars, arrays=arrays)


def pack_arrays(members: Mapping[str, AnyArray]) -> bytes:
    """Return named arrays as a compressed npz; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(members):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(
                content, np.ascontiguousarray(members[name]), version=(1, 0), allow_pickle=False
            )
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def unpack_arrays(data: bytes) -> dict[str, AnyArray]:
    """Return the arrays of :func:`pack_arrays`, by name.

    Raises
    ------
    InputError
        If the bytes are no npz.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, AttributeError) as error:
        raise InputError(f"The {len(data)} bytes are no npz archive ({error}).") from error


def _structure_members(structures: Sequence[Structure]) -> dict[str, AnyArray]:
    n_frames = len(structures)
    return {
        "n_atoms": np.array([s.n_atoms for s in structures], dtype=np.int64),
        "numbers": np.concatenate([np.zeros(0, np.int16), *(s.numbers for s in structures)]).astype(
            np.int16
        ),
        "positions": np.concatenate([np.zeros((0, 3)), *(s.positions for s in structures)]),
        "cell": np.array([s.cell for s in structures]).reshape(n_frames, 3, 3),
        "pbc": np.array([s.pbc for s in structures], dtype=np.bool_).reshape(n_frames, 3),
    }


def _label_members(frames: Sequence[LabelledStructure]) -> dict[str, AnyArray]:
    virials = [np.zeros((3, 3)) if f.virial is None else f.virial for f in frames]
    return {
        "energy": np.array([f.energy for f in frames]),
        "forces": np.concatenate([f.forces for f in frames]),
        "virial": np.array(virials),
        "has_virial": np.array([f.virial is not None for f in frames]),
        "weight": np.array([f.weight for f in frames]),
    }


__all__ = ["Frames", "pack_arrays", "pack_frames", "unpack_arrays", "unpack_frames"]
