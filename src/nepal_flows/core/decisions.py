"""What became of every candidate frame, with its reason and the numbers behind it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.extrapolation import grades_by_frame
from nepal_flows.core.nep.projections import ProjectionFactors
from nepal_flows.core.score_pools import ScorePool
from nepal_flows.typing import BoolArray

Reason = Literal[
    "selected",
    "rejected_by_gate",
    "not_finite",
    "above_ceiling",
    "below_threshold",
    "covered",
    "near_duplicate_of_labelled",
    "near_duplicate_of_selected",
    "not_in_active_set",
    "over_budget",
]
"""Why a candidate was taken or not.

``covered``: above the threshold when found, no longer so after the frames taken before.
``not_in_active_set``: method ``maxvol`` only; it holds no row of the joint active set.
"""


@dataclass(frozen=True)
class Decision:
    """What became of one candidate.

    Attributes
    ----------
    index
        Which candidate.
    reason
        Why it was selected or refused.
    grade
        Its grade with the active set as given; infinite where it could not be graded.
    grade_at_decision
        Its grade when the decision fell.
    atom, element
        The atom with the largest grade at first, and its element.
    order
        Position among the selected, from 0; None when refused.
    twin
        Index of the frame it nearly repeats (labelled frames, or candidates); None otherwise.
    distance
        Distance to that frame in scaled descriptors.
    detail
        The reason in words, with its numbers.
    """

    index: int
    reason: Reason
    grade: float
    grade_at_decision: float
    atom: int
    element: str
    order: int | None
    twin: int | None
    distance: float | None
    detail: str

    @property
    def is_selected(self) -> bool:
        """Whether it is to be labelled."""
        return self.reason == "selected"


@dataclass(frozen=True)
class Selection:
    """Which candidates to label, and what became of the others.

    Attributes
    ----------
    decisions
        One per candidate, in their order.
    selected
        Indices of the selected candidates, in the order of choice.
    largest_remaining_grade
        Largest grade, after the last choice, among the candidates that were not refused by the
        gate, the ceiling or as duplicates; 0 when there is none.
    """

    decisions: tuple[Decision, ...]
    selected: tuple[int, ...]
    largest_remaining_grade: float

    @property
    def refused(self) -> dict[str, int]:
        """Number of refused candidates by reason."""
        reasons = Counter(d.reason for d in self.decisions if not d.is_selected)
        return dict(sorted(reasons.items()))


class DecisionBook:
    """The decisions, as they fall.

    Parameters
    ----------
    active_set, candidates, gate_reasons, n_threads
        As for ``select_frames``.
    scores
        The same candidates, to be scored by another criterion than the grade.

    Attributes
    ----------
    grades
        Of every candidate with the active set as given, infinite where not finite.
    atom_grades
        Of the atoms of every candidate that is finite, by index.
    atoms
        The atom with the largest grade.
    open
        Whether no decision fell yet.
    selected
        Indices in the order of choice.
    """

    def __init__(
        self,
        active_set: ActiveSet,
        candidates: Sequence[ProjectionFactors],
        gate_reasons: Mapping[int, str],
        *,
        scores: ScorePool | None = None,
        n_threads: int = 1,
    ) -> None:
        n = len(candidates)
        self.candidates = candidates
        self.elements = active_set.elements
        self.grades = np.full(n, np.inf)
        self.atoms = np.zeros(n, dtype=np.int64)
        self.open: BoolArray = np.ones(n, dtype=np.bool_)
        self.selected: list[int] = []
        self._decisions: dict[int, Decision] = {}
        finite = [
            i
            for i, frame in enumerate(candidates)
            if all(np.isfinite(part).all() for part in (frame.y, frame.v, frame.t))
        ]
        if scores is not None:
            graded = scores.part(finite).scores_by_frame()
        else:
            factors = [candidates[i] for i in finite]
            graded = grades_by_frame(active_set, factors, n_threads=n_threads)
        self.atom_grades = dict(zip(finite, graded, strict=True))
        for i in range(n):
            if i not in self.atom_grades:
                self.refuse(i, "not_finite", "its descriptors are not finite")
                continue
            grades = self.atom_grades[i]
            self.atoms[i] = int(grades.argmax()) if len(grades) else 0
            self.grades[i] = float(grades.max(initial=0.0))
            if i in gate_reasons:
                self.refuse(i, "rejected_by_gate", gate_reasons[i])

    def refuse(
        self,
        index: int,
        reason: Reason,
        detail: str,
        *,
        grade: float | None = None,
        twin: int | None = None,
        distance: float | None = None,
    ) -> None:
        """Decide that a candidate is not labelled; its grade now is that at first by default."""
        self._decide(index, reason, detail, grade, None, twin, distance)

    def select(self, index: int, detail: str, grade: float) -> None:
        """Decide that a candidate is labelled, next in order."""
        self._decide(index, "selected", detail, grade, len(self.selected), None, None)
        self.selected.append(index)

    def decisions(self) -> list[Decision]:
        """Return the decisions in the order of candidates, one for each."""
        return [self._decisions[i] for i in range(len(self.candidates))]

    def _decide(
        self,
        index: int,
        reason: Reason,
        detail: str,
        grade: float | None,
        order: int | None,
        twin: int | None,
        distance: float | None,
    ) -> None:
        types = self.candidates[index].types
        element = self.elements[int(types[self.atoms[index]])] if len(types) else ""
        self.open[index] = False
        self._decisions[index] = Decision(
            index=index,
            reason=reason,
            grade=float(self.grades[index]),
            grade_at_decision=float(self.grades[index] if grade is None else grade),
            atom=int(self.atoms[index]),
            element=element,
            order=order,
            twin=twin,
            distance=distance,
            detail=detail,
        )


__all__ = ["Decision", "DecisionBook", "Reason", "Selection"]
