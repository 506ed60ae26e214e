"""Active sets in files: GPUMD's .asi text, and a compressed master that keeps everything.

The text has, element by element, a line ``El d d`` and then the d * d values of M in row-major
order, one per line. It does not say which model it belongs to and GPUMD checks neither its shape
nor its elements, so both are checked here, and the master carries the model's SHA-256.
"""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nepal_flows.core.active_set import ActiveSet, ElementActiveSet
from nepal_flows.core.elements import SYMBOLS
from nepal_flows.errors import ActiveSetError
from nepal_flows.io.replacing import replace_bytes, replaced_text
from nepal_flows.typing import AnyArray, FloatArray

MASTER_FORMAT = "nepal-active-set-1"

MASTER_SUFFIX = ".npz"
"""Ending of the compressed master beside an .asi file: it knows its model and its rows."""

_ARRAYS = ("inverse", "active_rows", "column_scale")
_VALUES_PER_WRITE = 65536
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def write_asi(active_set: ActiveSet | Mapping[str, FloatArray], path: str | Path) -> None:
    """Write M of every element as GPUMD reads it, with 17 significant digits.

    Parameters
    ----------
    active_set
        The active set, or M by chemical symbol, shapes (d, d).
    path
        Where to; replaced only once the new file is complete.

    Raises
    ------
    ActiveSetError
        If a matrix is not square or not finite, or sizes differ between elements.
    """
    inverses = _by_symbol(active_set)
    _check_inverses(inverses, "to be written")
    with replaced_text(path, encoding="ascii") as stream:
        for symbol, inverse in inverses.items():
            stream.write(f"{symbol} {inverse.shape[0]} {inverse.shape[1]}\n")
            values = inverse.ravel()
            for start in range(0, len(values), _VALUES_PER_WRITE):
                some = values[start : start + _VALUES_PER_WRITE].tolist()
                stream.write("%.17g\n" * len(some) % tuple(some))


def write_active_set(active_set: ActiveSet, path: str | Path) -> None:
    """Write the .asi text, and beside it the master of the same name ending in ``.npz``.

    Raises
    ------
    ActiveSetError
        As :func:`write_asi`.
    """
    write_asi(active_set, path)
    replace_bytes(Path(path).with_suffix(MASTER_SUFFIX), pack_active_set(active_set))


def read_asi(path: str | Path) -> dict[str, FloatArray]:
    """Return M by chemical symbol, shapes (d, d), from a file in GPUMD's format.

    Raises
    ------
    ActiveSetError
        If the file is unreadable, cut short, repeats an element, or holds a matrix that is not
        square or not finite.
    """
    source = Path(path)
    inverses: dict[str, FloatArray] = {}
    try:
        stream = source.open("rb", buffering=0)
    except OSError as error:
        raise ActiveSetError(f"{source} cannot be read as an active set: {error}.") from error
    with stream:
        while header := _next_line(stream):
            symbol, d = _parsed_header(header, source)
            if symbol in inverses:
                raise ActiveSetError(f"{source} holds {symbol} twice. Write it again.")
            inverses[symbol] = _read_matrix(stream, d, f"{symbol} in {source}")
    if not inverses:
        raise ActiveSetError(f"{source} holds no element. Write the active set again.")
    _check_inverses(inverses, f"in {source}")
    return inverses


def require_elements(
    active_set: ActiveSet | Mapping[str, FloatArray], elements: Sequence[str]
) -> None:
    """Raise unless every element has a matrix: GPUMD would read uninitialised memory.

    Raises
    ------
    ActiveSetError
        If an element is missing.
    """
    known = _by_symbol(active_set)
    missing = sorted({symbol for symbol in elements if symbol not in known})
    if missing:
        raise ActiveSetError(
            f"The active set holds {', '.join(known)}, but the structure also needs "
            f"{', '.join(missing)}. Build the active set with a model of all these elements."
        )


def inverses_by_type(
    active_set: ActiveSet | Mapping[str, FloatArray], elements: Sequence[str]
) -> FloatArray:
    """Return M stacked in the order of the model's types, shape (n_types, d, d).

    Raises
    ------
    ActiveSetError
        If an element is missing.
    """
    require_elements(active_set, elements)
    known = _by_symbol(active_set)
    return np.ascontiguousarray(np.stack([known[symbol] for symbol in elements]))


def pack_active_set(active_set: ActiveSet) -> bytes:
    """Return the compressed master; equal active sets give equal bytes."""
    description: dict[str, Any] = {
        "format": MASTER_FORMAT,
        "variant": active_set.variant,
        "rcond": active_set.rcond,
        "tolerance": active_set.tolerance,
        "model_sha256": active_set.model_sha256,
        "members": [
            {name: value for name, value in _plain(member).items() if name not in _ARRAYS}
            for member in active_set.members
        ],
    }
    text = json.dumps(description, sort_keys=True, allow_nan=False).encode()
    arrays: dict[str, AnyArray] = {"description": np.frombuffer(text, dtype=np.uint8)}
    for index, member in enumerate(active_set.members):
        for name in _ARRAYS:
            arrays[f"{name}_{index}"] = np.ascontiguousarray(getattr(member, name))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=_EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content.getvalue(), compresslevel=1)
    return buffer.getvalue()


def unpack_active_set(content: bytes) -> ActiveSet:
    """Return the active set from its compressed master.

    Raises
    ------
    ActiveSetError
        If the bytes are not such a master.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        description = json.loads(arrays["description"].tobytes())
        members = tuple(
            ElementActiveSet(**member, **{name: arrays[f"{name}_{index}"] for name in _ARRAYS})
            for index, member in enumerate(description["members"])
        )
        is_known = description["format"] == MASTER_FORMAT
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ActiveSetError(
            f"These {len(content)} bytes are not a packed active set: {error}. Rebuild it."
        ) from error
    if not is_known:
        raise ActiveSetError(
            f"The active set has format {description['format']!r}, but this version reads "
            f"{MASTER_FORMAT!r}. Rebuild it."
        )
    return ActiveSet(
        members=members,
        variant=description["variant"],
        rcond=description["rcond"],
        tolerance=description["tolerance"],
        model_sha256=description["model_sha256"],
    )


def _plain(member: ElementActiveSet) -> dict[str, Any]:
    return {field.name: getattr(member, field.name) for field in fields(member)}


def _by_symbol(active_set: ActiveSet | Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
    if isinstance(active_set, ActiveSet):
        return {member.element: member.inverse for member in active_set.members}
    return active_set


def _check_inverses(inverses: Mapping[str, FloatArray], where: str) -> None:
    shapes = {inverse.shape for inverse in inverses.values()}
    if len(shapes) != 1 or any(len(shape) != 2 or shape[0] != shape[1] for shape in shapes):
        raise ActiveSetError(
            f"The matrices {where} have shapes {sorted(shapes)}; all must be square and of one "
            "size. Rebuild the active set from one nep.txt."
        )
    for symbol, inverse in inverses.items():
        if symbol not in SYMBOLS[1:]:
            raise ActiveSetError(f"`{symbol}` {where} is not a chemical element.")
        if not np.isfinite(inverse).all():
            raise ActiveSetError(
                f"The matrix of {symbol} {where} holds NaN or infinity, which GPUMD would take "
                "for a grade. Rebuild the active set."
            )


def _next_line(stream: io.RawIOBase) -> bytes:
    """Return the next line that is not blank, or nothing at the end."""
    while line := stream.readline(256):
        if line.strip():
            return line
    return b""


def _parsed_header(line: bytes, source: Path) -> tuple[str, int]:
    words = line.split()
    try:
        symbol, n_rows, n_columns = words[0].decode("ascii"), int(words[1]), int(words[2])
    except (IndexError, ValueError):
        symbol, n_rows, n_columns = "", 0, 0
    if len(words) != 3 or symbol not in SYMBOLS[1:] or n_rows < 1 or n_columns != n_rows:
        raise ActiveSetError(
            f"{source} holds the line {line[:60]!r} where `El d d` was expected, as `Cu 540 540`."
        )
    return symbol, n_rows


def _read_matrix(stream: io.RawIOBase, d: int, name: str) -> FloatArray:
    try:
        values = np.fromfile(stream, sep=" ", count=d * d)
    except (ValueError, DeprecationWarning):
        values = np.zeros(0)
    if len(values) != d * d:
        raise ActiveSetError(
            f"{name}: the {d * d} values are not all there, or not all numbers. Write it again."
        )
    return values.reshape(d, d)


__all__ = [
    "MASTER_FORMAT",
    "MASTER_SUFFIX",
    "inverses_by_type",
    "pack_active_set",
    "read_asi",
    "require_elements",
    "unpack_active_set",
    "write_active_set",
    "write_asi",
]
