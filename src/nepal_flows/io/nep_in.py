"""The input file nep.in of GPUMD's `nep`, whose hyper-parameters the native trainer shares.

Keywords and defaults are those of GPUMD 5.6. A keyword that nobody knows is an error that names
the nearest one; keywords that only `nep` understands are kept and written back.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from nepal_flows.core.nep.model import NepArchitecture, Zbl
from nepal_flows.errors import ModelError, NepInputError
from nepal_flows.io.nep_in_text import parsed_text

NATIVE_KEYWORDS = frozenset(
    [
        "version",
        "type",
        "cutoff",
        "n_max",
        "basis_size",
        "l_max",
        "neuron",
        "zbl",
        "use_typewise_cutoff_zbl",
        "lambda_1",
        "lambda_2",
        "lambda_e",
        "lambda_f",
        "lambda_v",
        "lambda_shear",
        "force_delta",
        "type_weight",
        "prediction",
    ]
)
"""Keywords that mean something for the native trainer."""


@dataclass(frozen=True)
class NepInput:
    """What a nep.in says; the defaults are those of GPUMD 5.6.

    Attributes
    ----------
    type
        Chemical symbols, in the order of types.
    version, prediction
        Version of NEP (4) and whether only predictions are made.
    cutoff
        Radial and angular cutoff, Å: one pair, or one pair per element.
    n_max, basis_size
        Radial and angular value of each.
    l_max
        Largest l of the three-body part, then whether four- and five-body parts are on.
    neuron
        Neurons in the hidden layer.
    zbl
        Outer cutoff of the repulsion, Å; None for no repulsion.
    use_typewise_cutoff_zbl
        Factor on the sum of covalent radii that bounds the repulsion; None when absent.
    type_weight
        Weight of the forces on every element; empty for 1.
    lambda_1, lambda_2
        Regularisation; None for ``sqrt(1e-6 P / T)``.
    lambda_e, lambda_f, lambda_v, lambda_shear, force_delta
        Weights of the loss.
    batch, population, generation, sigma0, output_interval
        Settings of the evolution strategy.
    fine_tune
        Names of the nep.txt and nep.restart to start from; empty for none.
    others
        Further keywords of `nep` with their values, kept as text.
    given
        Keywords that the file named.

    Raises
    ------
    NepInputError
        If a value is out of the range that `nep` accepts.
    """

    type: tuple[str, ...]
    version: int = 4
    prediction: int = 0
    cutoff: tuple[float, ...] = (8.0, 4.0)
    n_max: tuple[int, int] = (6, 6)
    basis_size: tuple[int, int] = (6, 6)
    l_max: tuple[int, int, int] = (4, 1, 0)
    neuron: int = 30
    zbl: float | None = None
    use_typewise_cutoff_zbl: float | None = None
    type_weight: tuple[float, ...] = ()
    lambda_1: float | None = None
    lambda_2: float | None = None
    lambda_e: float = 1.0
    lambda_f: float = 1.0
    lambda_v: float = 0.1
    lambda_shear: float = 1.0
    force_delta: float = 0.0
    batch: int = 1000
    population: int = 50
    generation: int = 100000
    sigma0: float = 0.1
    output_interval: int = 100
    fine_tune: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_ranges(self)

    @property
    def architecture(self) -> NepArchitecture:
        """The hyper-parameters of the model."""
        zbl = None
        if self.zbl is not None:
            zbl = Zbl(inner=self.zbl / 2, outer=self.zbl, type_factor=self.use_typewise_cutoff_zbl)
        try:
            return NepArchitecture(
                elements=self.type,
                radial_cutoffs=self.cutoff[0::2],
                angular_cutoffs=self.cutoff[1::2],
                n_max_radial=self.n_max[0],
                n_max_angular=self.n_max[1],
                basis_size_radial=self.basis_size[0],
                basis_size_angular=self.basis_size[1],
                l_max=self.l_max[0],
                has_q_222=bool(self.l_max[1]),
                has_q_1111=bool(self.l_max[2]),
                n_neurons=self.neuron,
                zbl=zbl,
            )
        except ModelError as error:
            raise NepInputError(f"nep.in: {error}") from error

    @property
    def default_regularisation(self) -> float:
        """What `nep` takes for lambda_1 and lambda_2: sqrt(1e-6 P / T)."""
        architecture = self.architecture
        return math.sqrt(1e-6 * architecture.n_parameters / architecture.n_types)

    @property
    def ignored_by_native(self) -> tuple[str, ...]:
        """The keywords the file names that mean nothing to the native trainer."""
        return tuple(name for name in self.given if name not in NATIVE_KEYWORDS)


def read_nep_in(source: str | Path) -> NepInput:
    """Return what a nep.in says.

    Parameters
    ----------
    source
        Path of the file, or its text (a string with a line break is taken as text).

    Raises
    ------
    NepInputError
        If the file cannot be read, or a keyword or value is unknown, repeated or out of range.
    """
    if isinstance(source, str) and "\n" in source:
        return _parse(source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NepInputError(
            f"The input file `{path}` cannot be read ({error}). Give the path of a nep.in."
        ) from error
    try:
        return _parse(text)
    except NepInputError as error:
        raise NepInputError(f"`{path}`: {error}") from error


def format_nep_in(nep_input: NepInput, *, omitted: Collection[str] = ()) -> str:
    """Return the text of nep.in with every keyword written out.

    Parameters
    ----------
    nep_input
        What it says.
    omitted
        Keywords to leave out, because the program that reads it does not know them.
    """
    n = nep_input
    regularisation = n.default_regularisation
    lines: list[tuple[str, Sequence[Any]]] = [
        ("version", [n.version]),
        ("type", [len(n.type), *n.type]),
        ("type_weight", n.type_weight or [1.0] * len(n.type)),
        ("prediction", [n.prediction]),
    ]
    if n.zbl is not None:
        lines.append(("zbl", [n.zbl]))
    if n.use_typewise_cutoff_zbl is not None:
        lines.append(("use_typewise_cutoff_zbl", [n.use_typewise_cutoff_zbl]))
    lines += [(name, _values(getattr(n, name))) for name in ("cutoff", "n_max", "basis_size")]
    lines += [("l_max", n.l_max), ("neuron", [n.neuron])]
    for name in ("lambda_1", "lambda_2"):
        value = getattr(n, name)
        lines.append((name, [regularisation if value is None else value]))
    for name in [
        "lambda_e",
        "lambda_f",
        "lambda_v",
        "lambda_shear",
        "force_delta",
        "batch",
        "population",
        "generation",
        "sigma0",
        "output_interval",
    ]:
        lines.append((name, _values(getattr(n, name))))
    if n.fine_tune:
        lines.append(("fine_tune", n.fine_tune))
    text = "".join(
        f"{name:15s} {' '.join(_formatted(value) for value in values)}\n"
        for name, values in lines
        if name not in omitted
    )
    return text + "".join(f"{name:15s} {value}\n" for name, value in n.others)


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple) else [value]


def _formatted(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _parse(text: str) -> NepInput:
    parsed = parsed_text(text, _KEYWORDS)
    return NepInput(**parsed.values, others=parsed.others, given=parsed.given)


def _check_ranges(n: NepInput) -> None:
    n_types = len(n.type)
    if len(n.cutoff) not in (2, 2 * n_types):
        raise NepInputError(
            f"`cutoff` has {len(n.cutoff)} values, expected 2 or {2 * n_types} (radial and "
            "angular, once or per element)."
        )
    for radial, angular in zip(n.cutoff[0::2], n.cutoff[1::2], strict=True):
        if not 3.0 <= angular <= radial <= 10.0:
            raise NepInputError(
                f"`cutoff` has radial {radial:g} and angular {angular:g} Å, expected "
                "3 <= angular <= radial <= 10."
            )
    bounds: list[tuple[str, float, float, float]] = [
        ("version", n.version, 4, 4),
        ("prediction", n.prediction, 0, 1),
        ("n_max (radial)", n.n_max[0], 0, 12),
        ("n_max (angular)", n.n_max[1], 0, 8),
        ("basis_size (radial)", n.basis_size[0], 0, 16),
        ("basis_size (angular)", n.basis_size[1], 0, 12),
        ("l_max", n.l_max[0], 0, 8),
        ("neuron", n.neuron, 1, 120),
        ("zbl", 1.0 if n.zbl is None else n.zbl, 1.0, 2.5),
        ("batch", n.batch, 1, math.inf),
        ("population", n.population, 10, 200),
        ("generation", n.generation, 0, 10_000_000),
        ("sigma0", n.sigma0, 0.0, math.inf),
        ("output_interval", n.output_interval, 1, math.inf),
    ]
    bounds += [
        (name, getattr(n, name) or 0.0, 0.0, math.inf)
        for name in (
            [
                "lambda_1",
                "lambda_2",
                "lambda_e",
                "lambda_f",
                "lambda_v",
                "lambda_shear",
                "force_delta",
            ]
        )
    ]
    for name, value, low, high in bounds:
        if not low <= value <= high:
            expected = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            raise NepInputError(f"`{name}` is {value:g}, expected {expected}.")
    if n.type_weight and (len(n.type_weight) != n_types or min(n.type_weight) < 0):
        raise NepInputError(
            f"`type_weight` is {n.type_weight}, expected {n_types} numbers that are not negative."
        )


_KEYWORDS = frozenset(
    field.name
    for field in fields(NepInput)
    if field.default is not MISSING and field.name not in {"others", "given"}
)

__all__ = ["NATIVE_KEYWORDS", "NepInput", "format_nep_in", "read_nep_in"]
