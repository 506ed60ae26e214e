"""How `nepal select` shows its decisions."""

from typing import Any

from nepal_flows.cli.output import table
from nepal_flows.engines.selection_step import SelectedFile


def selection_content(result: SelectedFile) -> dict[str, Any]:
    """Return the JSON document of a selection."""
    return {
        "out": result.path,
        "model_sha256": result.model_sha256,
        "n_candidates": len(result.selection.decisions),
        "selected": list(result.selection.selected),
        "refused": result.selection.refused,
        "largest_remaining_grade": result.selection.largest_remaining_grade,
        "decisions": [
            {
                "candidate": decision.index,
                "reason": decision.reason,
                "gamma": decision.grade,
                "gamma_when_decided": decision.grade_at_decision,
                "element": decision.element,
                "atom": decision.atom,
                "order": decision.order,
                "twin": decision.twin,
                "detail": decision.detail,
            }
            for decision in result.selection.decisions
        ],
    }


def selection_lines(result: SelectedFile) -> list[str]:
    """Return every decision as a line, the selected ones first, and a summary."""
    decisions = sorted(
        result.selection.decisions,
        key=lambda d: (d.order is None, d.order if d.order is not None else d.index),
    )
    rows = [
        [
            decision.index,
            decision.reason.replace("_", " "),
            float(decision.grade),
            float(decision.grade_at_decision),
            decision.detail,
        ]
        for decision in decisions
    ]
    refused = ", ".join(
        f"{number} {reason.replace('_', ' ')}"
        for reason, number in result.selection.refused.items()
    )
    return [
        *table(["candidate", "decision", "gamma", "when decided", "why"], rows),
        f"{len(result.selection.selected)} of {len(rows)} candidates selected, in {result.path}; "
        f"refused: {refused or 'none'}; largest remaining grade "
        f"{result.selection.largest_remaining_grade:.3g}",
    ]


__all__ = ["selection_content", "selection_lines"]
