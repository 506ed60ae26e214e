"""One rule of k-points for cells of every size.

k-points matter more than anything else in a label: a cell and its multiple agree in energy per
atom only if their k-points fold into one set.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from monty.json import MSONable

from nepal_flows.core.structure import Structure
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.typing import FloatArray

MAX_STRETCH = 0.2
"""Largest strain of an axis (logarithmic) that is still taken for the same multiple."""

MAX_SHEAR = 0.2
"""Largest lean of an axis, in units of the primitive vector it leans along, per repeat."""

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Mesh:
    """The k-points of one structure.

    Attributes
    ----------
    grid
        Divisions along the three reciprocal vectors.
    offset
        Whether each is shifted by half a step.
    """

    grid: Triple
    offset: tuple[bool, bool, bool]

    def points(self) -> FloatArray:
        """Return the points in units of the reciprocal vectors, one of each pair k and -k.

        Returns
        -------
        FloatArray
            Rows (k1, k2, k3, weight), shape (n_points, 4); the weights sum to 1.

        Examples
        --------
        >>> Mesh((2, 1, 1), (True, False, False)).points()
        array([[0.25, 0.  , 0.  , 1.  ]])
        """
        halves = [2 * n for n in self.grid]
        weights: dict[tuple[int, ...], int] = {}
        for steps in itertools.product(*(range(n) for n in self.grid)):
            point = tuple(2 * s + o for s, o in zip(steps, self.offset, strict=True))
            opposite = tuple(-p % h for p, h in zip(point, halves, strict=True))
            name = opposite if opposite in weights else point
            weights[name] = weights.get(name, 0) + 1
        rows = [
            [*(p / h for p, h in zip(point, halves, strict=True)), weight / math.prod(self.grid)]
            for point, weight in weights.items()
        ]
        return np.array(rows)


@dataclass(frozen=True)
class KPointRule(MSONable):
    """The rule that gives every structure its k-points.

    Attributes
    ----------
    mode
        ``folded``: every cell is a diagonal multiple of one primitive cell, and its grid is that
        of the primitive cell divided by the repeats, so that all cells share one set of points.
        ``spacing``: the grid follows from a spacing; cells of several sizes agree only as far as
        the spacing is converged.
    grid, offset
        Grid of the primitive cell, and whether it is shifted by half a step (``folded``; the
        offset holds for ``spacing`` too).
    spacing
        Largest distance of points, 1/Å, with the factor 2 pi (``spacing``).
    primitive_cell
        The primitive cell, rows, Å (``folded``).
    primitive_n_atoms
        Its number of atoms.

    Raises
    ------
    CampaignError
        If ``folded`` lacks the primitive cell.
    """

    mode: Literal["folded", "spacing"] = "folded"
    grid: Sequence[int] = (6, 6, 6)
    offset: Sequence[bool] = (False, False, False)
    spacing: float = 0.2
    primitive_cell: Sequence[Sequence[float]] | None = None
    primitive_n_atoms: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "grid", tuple(int(n) for n in self.grid))
        object.__setattr__(self, "offset", tuple(bool(flag) for flag in self.offset))
        if self.primitive_cell is not None:
            rows = tuple(tuple(float(x) for x in row) for row in self.primitive_cell)
            object.__setattr__(self, "primitive_cell", rows)
        if self.mode == "folded" and (not self.primitive_cell or not self.primitive_n_atoms):
            raise CampaignError(
                "k-points of mode `folded` need the primitive cell that all cells are multiples "
                "of. Give it, or use `spacing`."
            )

    @classmethod
    def folded(
        cls,
        primitive: Structure,
        *,
        grid: Sequence[int] = (6, 6, 6),
        offset: Sequence[bool] = (False, False, False),
    ) -> "KPointRule":
        """Return the rule for diagonal multiples of a primitive cell."""
        return cls("folded", grid, offset, 0.2, primitive.cell.tolist(), primitive.n_atoms)

    def physics(self) -> dict[str, Any]:
        """Return the rule as plain JSON values; the primitive cell to 0.001 Å."""
        rule: dict[str, Any] = {"mode": self.mode, "offset": list(self.offset)}
        if self.mode == "spacing":
            return rule | {"spacing_per_A": self.spacing}
        shape = np.round(_standard_form(np.array(self.primitive_cell)), 3) + 0.0
        rule |= {"grid": list(self.grid), "primitive_n_atoms": self.primitive_n_atoms}
        return rule | {"primitive_cell_A": shape.tolist()}

    def mesh(self, structure: Structure) -> Mesh:
        """Return the k-points of a structure; directions that do not repeat get one.

        Raises
        ------
        LabelError
            If the structure is no diagonal multiple of the primitive cell, or its repeats do not
            divide the grid (``folded``).
        """
        if self.mode == "spacing":
            lengths = 2.0 * math.pi * np.linalg.norm(np.linalg.inv(structure.cell), axis=0)
            grid = [max(1, math.ceil(length / self.spacing - 1e-9)) for length in lengths]
        else:
            repeats = self.repeats(structure)
            grid = [n // r for n, r in zip(self.grid, repeats, strict=True)]
        grid = [n if flag else 1 for n, flag in zip(grid, structure.pbc, strict=True)]
        offset = [o and flag for o, flag in zip(self.offset, structure.pbc, strict=True)]
        return Mesh((grid[0], grid[1], grid[2]), (offset[0], offset[1], offset[2]))

    def repeats(self, structure: Structure) -> Triple:
        """Return how often a structure repeats the primitive cell along its three vectors.

        The cell may be rotated, strained (up to 20 % along an axis) and lack some atoms.

        Raises
        ------
        LabelError
            If it is no diagonal multiple whose repeats divide the grid.
        """
        primitive = _standard_form(np.array(self.primitive_cell))
        map_to_cell = _standard_form(structure.cell) @ np.linalg.inv(primitive)
        found = [
            min(_divisors(n), key=partial(_misfit, x))
            for n, x in zip(self.grid, np.diagonal(map_to_cell), strict=True)
        ]
        repeats = (found[0], found[1], found[2])
        strain = map_to_cell / np.array(repeats)[:, None]
        stretch = np.abs(np.log(np.diagonal(strain)))
        shear = np.abs(strain - np.diag(np.diagonal(strain)))
        expected = math.prod(repeats) * (self.primitive_n_atoms or 1)
        if (
            (stretch > MAX_STRETCH).any()
            or (shear > MAX_SHEAR).any()
            or not 0.5 * expected < structure.n_atoms <= expected
        ):
            raise LabelError(
                f"The cell {np.round(structure.cell, 3).tolist()} with {structure.n_atoms} atoms "
                f"is no diagonal multiple of the primitive cell whose repeats divide the k-grid "
                f"{self.grid} (it is {np.round(map_to_cell, 2).tolist()} times the primitive "
                "vectors). Use such multiples, or k-points of mode `spacing`."
            )
        return repeats


def _standard_form(cell: FloatArray) -> FloatArray:
    """Return the cell turned so that it is lower triangular: its shape without its orientation."""
    return np.asarray(np.linalg.cholesky(cell @ cell.T), dtype=np.float64)


def _misfit(length: float, repeats: int) -> float:
    return abs(math.log(length / repeats))


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


__all__ = ["KPointRule", "Mesh"]
