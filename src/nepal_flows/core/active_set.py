r"""Active sets: per element, the training environments of largest volume and their inverse.

The grade of an environment is :math:`\gamma = \max_k |(b M)_k|`. In the *subspace* variant
:math:`M = [M_\mathrm{in} | M_\mathrm{out}]`: :math:`M_\mathrm{in}` holds the coefficients of the
active rows within the space that the training rows span numerically, :math:`M_\mathrm{out}` the
directions outside of it, each divided by the scale up to which training rows leave the span.
The *full* variant is the published one: as many active rows as columns, and a pseudo-inverse.
b depends on the network, so an active set is valid for exactly one nep.txt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nepal_flows.core.design_rows import DesignRows
from nepal_flows.core.dominant_rows import (
    SMALLEST_OUT_OF_SPAN,
    DominantRows,
    full_dominant_rows,
    subspace_dominant_rows,
)
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.span import Span, element_span
from nepal_flows.errors import ActiveSetError
from nepal_flows.typing import FloatArray, IntArray

Variant = Literal["subspace", "full"]

DEFAULT_RCOND: dict[str, float] = {"subspace": 1e-6, "full": 1e-8}
"""Cut of the singular values by variant; thresholds are not transferable between variants."""


@dataclass(frozen=True, eq=False)
class ElementActiveSet:
    """The active set of one element.

    Attributes
    ----------
    element
        Chemical symbol.
    inverse
        M, shape (d, d): rows are components of b, columns what the grade is the maximum over.
    active_rows
        (frame, atom) of every active environment, in the order of its columns, shape (n, 2).
    n_in
        Columns of M that belong to active rows.
    column_scale
        Scale of every component of b, shape (d,).
    n_rows, n_distinct_rows
        Training environments, and how many of them differ.
    rank, rank_before_last_batch
        Numerical rank of the rows, and of those before the last batch of frames.
    is_saturated
        Whether the last batch no longer added directions; before that the grade has no scale.
    log_determinant
        Logarithm of the volume of the whitened active rows; None where it vanishes.
    largest_training_grade
        Largest grade of any training row, all of them graded with ``inverse``.
    out_of_span_scale
        eps_t, by which out-of-span components are divided; None in the full variant.
    converged
        Whether every training row was verified to be within the tolerance.
    """

    element: str
    inverse: FloatArray
    active_rows: IntArray
    n_in: int
    column_scale: FloatArray
    n_rows: int
    n_distinct_rows: int
    rank: int
    rank_before_last_batch: int
    is_saturated: bool
    log_determinant: float | None
    largest_training_grade: float
    out_of_span_scale: float | None
    converged: bool

    @property
    def n_projection(self) -> int:
        """Length d of b."""
        return len(self.inverse)


@dataclass(frozen=True, eq=False)
class ActiveSet:
    """The active sets of all elements of one model.

    Attributes
    ----------
    members
        One per element, in the order of the model's types.
    variant
        How it was built.
    rcond, tolerance
        Cut of the singular values, and tolerance of MaxVol.
    model_sha256
        SHA-256 of the nep.txt it belongs to; empty when it was not given.
    """

    members: tuple[ElementActiveSet, ...]
    variant: Variant
    rcond: float
    tolerance: float
    model_sha256: str = ""

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, in the order of types."""
        return tuple(member.element for member in self.members)

    @property
    def n_projection(self) -> int:
        """Length d of b."""
        return self.members[0].n_projection

    @cached_property
    def inverses(self) -> FloatArray:
        """M of all types, shape (n_types, d, d)."""
        return np.ascontiguousarray(np.stack([member.inverse for member in self.members]))

    def of_element(self, element: str) -> ElementActiveSet:
        """Return the active set of one element.

        Raises
        ------
        ActiveSetError
            If the element is not part of it.
        """
        for member in self.members:
            if member.element == element:
                return member
        raise ActiveSetError(
            f"The active set holds {', '.join(self.elements)}, not {element}. Build it from a "
            "model and training data with this element."
        )

    def require_model(self, model_sha256: str) -> None:
        """Raise unless this active set was built for the model with this SHA-256.

        Raises
        ------
        ActiveSetError
            If it belongs to another model, or does not say to which.
        """
        if self.model_sha256 != model_sha256:
            owner = f"the model {self.model_sha256[:12]}.." if self.model_sha256 else "no model"
            raise ActiveSetError(
                f"The active set belongs to {owner}, but the model in use is "
                f"{model_sha256[:12]}... Rebuild it from this nep.txt and its training data."
            )


def build_active_set(
    factors: Sequence[ProjectionFactors],
    elements: Sequence[str],
    *,
    variant: Variant = "subspace",
    rcond: float | None = None,
    tolerance: float = 1.001,
    n_last_batch: int = 0,
    max_rank_growth: float = 0.02,
    model_sha256: str = "",
    memory_limit_MB: float = 2000.0,
    n_threads: int = 1,
) -> ActiveSet:
    """Return the active sets of all elements from the training frames.

    Parameters
    ----------
    factors
        Factors of the training frames, oldest first; all of one model.
    elements
        The model's elements, in the order of types.
    variant
        ``subspace``, or ``full`` for the published square MaxVol with a pseudo-inverse.
    rcond
        Singular values below this share of the largest count as zero; by default 1e-6 in the
        subspace variant, and 1e-8, in the pseudo-inverse, in the full one.
    tolerance
        Tolerance of MaxVol, at least 1.
    n_last_batch
        How many of the last frames are the newest batch, for the judgement of saturation;
        0 takes the last tenth.
    max_rank_growth
        Relative growth of the rank by the last batch up to which it counts as saturated.
    model_sha256
        SHA-256 of the nep.txt that the factors were computed with.
    memory_limit_MB
        Bound on the working memory; larger data are streamed.
    n_threads
        Threads over blocks of rows.

    Returns
    -------
    ActiveSet
        One member per element, also for elements that no frame holds: everything is then out
        of span.

    Raises
    ------
    ActiveSetError
        If there is no frame, a number is not finite, shapes disagree, a type is not one of the
        elements, or an option is out of range.
    """
    cut = DEFAULT_RCOND.get(variant, 0.0) if rcond is None else rcond
    _check_options(variant, cut, tolerance, n_last_batch, memory_limit_MB)
    _check_frames(factors, len(elements))
    n_newest = n_last_batch or -(-len(factors) // 10)
    design = [
        DesignRows(factors, t, gather_limit=memory_limit_MB * 2e5) for t in range(len(elements))
    ]
    typical = _typical_size(design)
    members = [
        _element_active_set(
            rows,
            element,
            variant=variant,
            rcond=cut,
            tolerance=tolerance,
            first_newest=len(factors) - n_newest,
            max_rank_growth=max_rank_growth,
            memory=memory_limit_MB * 1e6,
            n_threads=n_threads,
            typical=typical,
        )
        for rows, element in zip(design, elements, strict=True)
    ]
    return ActiveSet(
        members=tuple(members),
        variant=variant,
        rcond=cut,
        tolerance=tolerance,
        model_sha256=model_sha256,
    )


def _element_active_set(
    rows: DesignRows,
    element: str,
    *,
    variant: Variant,
    rcond: float,
    tolerance: float,
    first_newest: int,
    max_rank_growth: float,
    memory: float,
    n_threads: int,
    typical: float,
) -> ElementActiveSet:
    n_distinct = rows.n_distinct()
    span = element_span(
        rows,
        rcond=rcond,
        n_before=rows.rows_before_frame(first_newest),
        n_threads=n_threads,
        block_rows=_qr_block(rows.n_columns, memory, n_threads),
    )
    out_of_span_scale: float | None = None
    if variant == "full":
        chosen = full_dominant_rows(
            rows, rcond=rcond, tolerance=tolerance, memory=memory, n_threads=n_threads
        )
        inverse = np.zeros((rows.n_columns, rows.n_columns))
        inverse[:, : chosen.inverse.shape[1]] = chosen.inverse
        largest = chosen.largest
    else:
        chosen = subspace_dominant_rows(
            rows, span, tolerance=tolerance, memory=memory, n_threads=n_threads
        )
        size = chosen.median_size or typical
        out_of_span_scale = max(chosen.largest_outside, SMALLEST_OUT_OF_SPAN * size)
        inverse = np.concatenate([chosen.inverse, span.outside / out_of_span_scale], axis=1)
        largest = max(chosen.largest, chosen.largest_outside / out_of_span_scale)
    return ElementActiveSet(
        element=element,
        inverse=_finite(inverse, element),
        active_rows=np.stack([rows.frames[chosen.rows], rows.atoms[chosen.rows]], axis=1),
        n_in=len(chosen.rows),
        column_scale=span.column_scale,
        n_rows=rows.n_rows,
        n_distinct_rows=n_distinct,
        rank=span.rank,
        rank_before_last_batch=span.rank_before_last_batch,
        is_saturated=span.is_saturated(n_distinct, max_rank_growth),
        log_determinant=chosen.log_determinant,
        largest_training_grade=largest,
        out_of_span_scale=out_of_span_scale,
        converged=chosen.converged,
    )


def _typical_size(design: Sequence[DesignRows]) -> float:
    """Return a size of rows for elements without any: that of the first rows of the others."""
    sizes = [np.linalg.norm(rows.dense(slice(0, 256)), axis=1) for rows in design if rows.n_rows]
    return float(np.median(np.concatenate(sizes))) or 1.0


def _qr_block(d: int, memory: float, n_threads: int) -> int:
    """Return rows per block of the QR: a block exists three times while it is factorised."""
    affordable = int(0.5 * memory / (24.0 * d * max(n_threads, 1)))
    return max(min(4 * d, affordable), d, 64)


def _finite(inverse: FloatArray, element: str) -> FloatArray:
    if not np.isfinite(inverse).all():
        raise ActiveSetError(
            f"The inverse of {element} is not finite: its training rows are out of range. "
            "Check the model and drop frames with colliding atoms."
        )
    return np.ascontiguousarray(inverse)


def _check_options(
    variant: str, rcond: float, tolerance: float, n_last_batch: int, memory_limit_MB: float
) -> None:
    if variant not in DEFAULT_RCOND:
        raise ActiveSetError(f"`variant` is {variant!r}; expected 'subspace' or 'full'.")
    if not 0.0 < rcond < 1.0:
        raise ActiveSetError(f"`rcond` is {rcond}; expected a number between 0 and 1, as 1e-6.")
    if not 1.0 <= tolerance < np.inf:
        raise ActiveSetError(f"`tolerance` is {tolerance}; expected at least 1, as 1.001.")
    if n_last_batch < 0 or not memory_limit_MB > 0.0:
        raise ActiveSetError(
            f"`n_last_batch` is {n_last_batch} and `memory_limit_MB` {memory_limit_MB}; the "
            "first may not be negative, the second must be positive."
        )


def _check_frames(factors: Sequence[ProjectionFactors], n_types: int) -> None:
    if n_types == 0:
        raise ActiveSetError("There are no elements. Give those of the model.")
    for index, frame in enumerate(factors):
        if len(frame.types) and not 0 <= frame.types.min() <= frame.types.max() < n_types:
            raise ActiveSetError(
                f"Frame {index} holds type {int(frame.types.max())}, but there are {n_types} "
                "elements. Give the elements of the model the factors were computed with."
            )
        if not all(np.isfinite(part).all() for part in (frame.y, frame.v, frame.t)):
            raise ActiveSetError(f"The factors of frame {index} hold NaN or infinity. Drop it.")


__all__ = [
    "DEFAULT_RCOND",
    "ActiveSet",
    "DominantRows",
    "ElementActiveSet",
    "Span",
    "Variant",
    "build_active_set",
]
