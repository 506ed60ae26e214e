"""The model file nep.txt, as GPUMD 5.x and calorine read it.

A header of keyword lines, then one number per line: per type w0 (neuron-major, descriptor
fastest), b0 and w1; the common bias b1; radial and angular expansion coefficients in the order
(n, k, central type, neighbour type); the descriptor scale; and, for the flexible ZBL, ten numbers
per pair of elements. Only what the package can evaluate is accepted; anything else is refused by
its name.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture, NepModel, Zbl, model_from_parameters
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray

ZBL_PARAMETERS_PER_PAIR = 10
_MAX_L = 8
_CUBIC_FLAGS = ("112", "123", "233", "134")
_SUPPORTED_KINDS = ("nep4", "nep4_zbl")
_KIND_PARTS = {
    "zbl": "",
    "temperature": "temperature-dependent models",
    "dipole": "dipole models",
    "polarizability": "polarizability models",
    "spin": "spin models",
    "vdw": "models with dispersion",
}


def read_nep_txt(source: str | Path) -> NepModel:
    """Return the model in a nep.txt.

    Parameters
    ----------
    source
        Path of the file, or its text (a string with a line break is taken as text).

    Raises
    ------
    ModelError
        If the file cannot be read, is of an unsupported kind, or holds too few or too many numbers.
    """
    if isinstance(source, str) and "\n" in source:
        return _parse(source, "nep.txt")
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"The model file `{path}` cannot be read ({error}). Give the path of a nep.txt."
        ) from error
    return _parse(text, str(path))


def write_nep_txt(model: NepModel, path: str | Path) -> Path:
    """Write the model to a file that GPUMD 5.x and calorine read; return its path."""
    path = Path(path)
    path.write_text(format_nep_txt(model), encoding="ascii")
    return path


def format_nep_txt(model: NepModel) -> str:
    """Return the text of nep.txt, with eight significant digits per number.

    The neighbour counts are written as they are in ``model.max_neighbours``; GPUMD sizes its
    buffers by them, so a model meant for GPUMD must know the counts of its training data.
    """
    a = model.architecture
    zbl = a.zbl
    kind = "nep4" if zbl is None else "nep4_zbl"
    lines = [f"{kind} {a.n_types} {' '.join(a.elements)}"]
    if zbl is not None:
        factor = () if zbl.type_factor is None else (zbl.type_factor,)
        lines.append(_keyword_line("zbl", zbl.inner, zbl.outer, *factor))
    pairs = list(zip(a.radial_cutoffs, a.angular_cutoffs, strict=True))
    if len(set(pairs)) == 1:
        pairs = pairs[:1]
    cutoffs = [value for pair in pairs for value in pair]
    lines += [
        _keyword_line("cutoff", *cutoffs, *model.max_neighbours),
        _keyword_line("n_max", a.n_max_radial, a.n_max_angular),
        _keyword_line("basis_size", a.basis_size_radial, a.basis_size_angular),
        _keyword_line("l_max", a.l_max, 2 * int(a.has_q_222), int(a.has_q_1111)),
        _keyword_line("ANN", a.n_neurons, 0),
    ]
    numbers = [model.parameters(), model.q_scaler]
    if zbl is not None and zbl.parameters is not None:
        numbers.append(zbl.parameters.ravel())
    lines += [f"{value:15.7e}" for value in np.concatenate(numbers)]
    return "\n".join(lines) + "\n"


def model_sha256(text: str | bytes) -> str:
    """Return the SHA-256 (hexadecimal) of the text of a nep.txt, the identity of the model."""
    data = text.encode("utf-8") if isinstance(text, str) else text
    return hashlib.sha256(data).hexdigest()


def _keyword_line(keyword: str, *values: float) -> str:
    return " ".join([keyword, *(f"{value:.10g}" for value in values)])


@dataclass
class _Lines:
    """The lines of one file, taken one after the other."""

    rows: list[list[str]]
    source: str
    position: int = 0

    def take(self, keyword: str, n_values: tuple[int, ...] | None = None) -> list[str]:
        """Return the values after ``keyword``, which must open the next line."""
        row = self.rows[self.position] if self.position < len(self.rows) else []
        if not row or row[0] != keyword:
            raise ModelError(
                f"`{self.source}` has `{' '.join(row) or 'nothing'}` where the `{keyword}` line is "
                "expected. The file is damaged or of another version of NEP."
            )
        self.position += 1
        if n_values is not None and len(row) - 1 not in n_values:
            raise ModelError(
                f"`{' '.join(row)}` in `{self.source}` has {len(row) - 1} values, expected "
                f"{' or '.join(map(str, n_values))}."
            )
        return row[1:]

    def numbers(self, keyword: str, n_values: tuple[int, ...] | None = None) -> FloatArray:
        """Return the values after ``keyword`` as numbers."""
        return _as_numbers(self.take(keyword, n_values), f"the `{keyword}` line of `{self.source}`")

    def integers(self, keyword: str, n_values: tuple[int, ...] | None = None) -> list[int]:
        """Return the values after ``keyword`` as integers."""
        values = self.numbers(keyword, n_values)
        if (values != np.rint(values)).any() or (values < 0).any():
            raise ModelError(
                f"The `{keyword}` line of `{self.source}` holds {values.tolist()}, expected whole "
                "numbers that are not negative."
            )
        return [int(value) for value in values]


def _parse(text: str, source: str) -> NepModel:
    rows = [row for line in text.splitlines() if (row := line.split())]
    if not rows:
        raise ModelError(f"`{source}` is empty; it should be a nep.txt.")
    kind = rows[0][0]
    _refuse_unsupported_kind(kind, source)
    elements = _elements(rows[0], source)
    lines = _Lines(rows, source, position=1)
    zbl_values = lines.numbers("zbl", (2, 3)) if kind == "nep4_zbl" else None
    radial, angular, max_neighbours = _cutoffs(lines, len(elements))
    n_max = lines.integers("n_max", (2,))
    basis_size = lines.integers("basis_size", (2,))
    l_max, has_q_222, has_q_1111 = _l_max(lines)
    n_neurons = _n_neurons(lines)
    architecture = NepArchitecture(
        elements=elements,
        radial_cutoffs=radial,
        angular_cutoffs=angular,
        n_max_radial=n_max[0],
        n_max_angular=n_max[1],
        basis_size_radial=basis_size[0],
        basis_size_angular=basis_size[1],
        l_max=l_max,
        has_q_222=has_q_222,
        has_q_1111=has_q_1111,
        n_neurons=n_neurons,
    )
    tokens = [token for row in rows[lines.position :] for token in row]
    values = _as_numbers(tokens, f"`{source}`")
    n_model = architecture.n_parameters + architecture.n_descriptors
    is_flexible = zbl_values is not None and not zbl_values[:2].any()
    n_pairs = len(elements) * (len(elements) + 1) // 2
    n_zbl = ZBL_PARAMETERS_PER_PAIR * n_pairs if is_flexible else 0
    if len(values) != n_model + n_zbl:
        raise ModelError(
            f"`{source}` holds {len(values)} numbers, but its header asks for {n_model + n_zbl} "
            f"({architecture.n_parameters} parameters, {architecture.n_descriptors} descriptor "
            f"scales, {n_zbl} of the repulsion). The file is incomplete or its header is wrong."
        )
    if zbl_values is not None:
        parameters = values[n_model:].reshape(n_pairs, -1) if is_flexible else None
        zbl = _zbl(zbl_values, parameters, source)
        architecture = NepArchitecture(**{**vars(architecture), "zbl": zbl})
    return model_from_parameters(
        architecture,
        values[: architecture.n_parameters],
        values[architecture.n_parameters : n_model],
        max_neighbours=max_neighbours,
    )


def _refuse_unsupported_kind(kind: str, source: str) -> None:
    if kind in _SUPPORTED_KINDS:
        return
    match = re.fullmatch(r"nep(\d+)((?:_\w+)*)", kind)
    if match is None:
        raise ModelError(
            f"`{source}` begins with `{kind}`, which is no kind of NEP. Give a nep.txt that begins "
            "with `nep4` or `nep4_zbl`."
        )
    version, parts = match.group(1), match.group(2).split("_")[1:]
    reasons = [] if version == "4" else [f"NEP{version} models"]
    for part in parts:
        name = "models with charges (qNEP)" if part.startswith("charge") else None
        if name is None:
            name = _KIND_PARTS.get(part, f"`{part}` models")
        if name:
            reasons.append(name)
    raise ModelError(
        f"`{source}` is of kind `{kind}`: {' and '.join(reasons) or 'this form'} "
        "cannot be evaluated here. Use a `nep4` or `nep4_zbl` potential (`version 4` in nep.in)."
    )


def _elements(row: list[str], source: str) -> tuple[str, ...]:
    elements = tuple(row[2:])
    if len(row) < 3 or not row[1].isdigit() or int(row[1]) != len(elements):
        raise ModelError(
            f"The first line of `{source}` is `{' '.join(row)}`, expected `{row[0]} T El1 .. ElT` "
            "with T chemical symbols."
        )
    return elements


def _cutoffs(
    lines: _Lines, n_types: int
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, int]]:
    values = lines.numbers("cutoff")
    allowed = (4, 2 * n_types + 2)
    if len(values) == 7:
        raise ModelError(
            f"The `cutoff` line of `{lines.source}` has type-wise cutoff factors "
            f"({values[4:].tolist()}), which older versions of GPUMD wrote. They are not "
            "supported: train with `cutoff` and one pair of values per element."
        )
    if len(values) not in allowed:
        raise ModelError(
            f"The `cutoff` line of `{lines.source}` has {len(values)} values, expected "
            f"{' or '.join(str(n) for n in sorted(set(allowed)))}: radial and angular cutoff (one "
            "pair, or one per element) and the two neighbour counts."
        )
    if not np.isfinite(values).all():
        raise ModelError(
            f"The `cutoff` line of `{lines.source}` holds {values.tolist()}, expected finite "
            "numbers."
        )
    radial = tuple(float(value) for value in values[0:-2:2])
    angular = tuple(float(value) for value in values[1:-2:2])
    return radial, angular, (int(values[-2]), int(values[-1]))


def _l_max(lines: _Lines) -> tuple[int, bool, bool]:
    values = lines.integers("l_max")
    if not values or values[0] > _MAX_L:
        raise ModelError(
            f"The `l_max` line of `{lines.source}` holds {values}, expected the largest l "
            f"(0 to {_MAX_L}) and up to two flags."
        )
    extra = [
        _CUBIC_FLAGS[index] if index < len(_CUBIC_FLAGS) else f"number {index + 3}"
        for index, value in enumerate(values[3:])
        if value
    ]
    if extra:
        raise ModelError(
            f"The `l_max` line of `{lines.source}` sets the invariant(s) {', '.join(extra)} of "
            "newer versions of GPUMD, which are not supported. Train with `l_max L 2|0 1|0`."
        )
    flags = [*values[1:3], 0, 0]
    return values[0], bool(flags[0]), bool(flags[1])


def _n_neurons(lines: _Lines) -> int:
    first, *others = lines.integers("ANN", (1, 2))
    if any(others):
        raise ModelError(
            f"The `ANN` line of `{lines.source}` asks for a second hidden layer of {others[0]} "
            "neurons; only one hidden layer is supported."
        )
    if first < 1:
        raise ModelError(f"The `ANN` line of `{lines.source}` asks for {first} neurons.")
    return first


def _zbl(values: FloatArray, parameters: FloatArray | None, source: str) -> Zbl:
    inner, outer = float(values[0]), float(values[1])
    if parameters is None and not 0.0 <= inner < outer:
        raise ModelError(
            f"The `zbl` line of `{source}` has inner {inner:g} and outer {outer:g}, expected "
            "0 <= inner < outer in Å, or `0 0` for the flexible form."
        )
    factor = float(values[2]) if len(values) == 3 else None
    return Zbl(inner=inner, outer=outer, type_factor=factor, parameters=parameters)


def _as_numbers(tokens: list[str], place: str) -> FloatArray:
    try:
        return np.array(tokens, dtype=np.float64)
    except ValueError as error:
        raise ModelError(f"There is something else than a number in {place}: {error}.") from error


__all__ = [
    "ZBL_PARAMETERS_PER_PAIR",
    "format_nep_txt",
    "model_sha256",
    "read_nep_txt",
    "write_nep_txt",
]
