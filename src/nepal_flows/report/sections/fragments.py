"""Section on the fragments that were carved out of large cells."""

from nepal_flows.report.blocks import Block, Cell, Section, table
from nepal_flows.report.data import ReportData
from nepal_flows.report.words import NONE, figures, round_name, whole
from nepal_flows.schemas import CarvingDoc

_COLUMNS = (
    "round", "condition", "step", "atom", "γ", "method", "atoms", "of parent's", "boundary γ",
    "in the parent", "force change eV/Å", "kept",
)  # fmt: skip


def fragments(data: ReportData) -> Section:
    """Return what every fragment kept of its parent."""
    accepted = sum(doc.status == "accepted" for doc in data.carvings)
    blocks: list[Block] = [
        table(
            f"Fragments of large cells: {accepted} of {len(data.carvings)} accepted. The centre's "
            "grade is the parent's by construction; what can fail is the model's force on the "
            "centre and its first shell, and distances.",
            _COLUMNS,
            [_row(doc) for doc in data.carvings],
            text_columns=("round", "condition", "method", "kept"),
            is_folded=len(data.carvings) > 20,
        )
    ]
    return Section("fragments", "Fragments", blocks)


def _row(doc: CarvingDoc) -> list[Cell | str]:
    kept = doc.fidelity
    change = NONE
    if kept is not None:
        change = figures(max(kept.centre_force_change_eV_per_A, kept.shell_force_change_eV_per_A))
    return [
        round_name(doc.iteration),
        doc.condition or NONE,
        NONE if doc.step is None else whole(doc.step),
        str(doc.centre),
        figures(doc.gamma),
        doc.method or NONE,
        whole(doc.n_atoms) if doc.n_atoms else NONE,
        whole(doc.n_parent_atoms),
        NONE if kept is None else figures(kept.boundary_gamma_mean),
        NONE if kept is None else figures(kept.parent_boundary_gamma_mean),
        change,
        Cell("yes", "yes") if doc.status == "accepted" else Cell("no", "no", hint=doc.reason or ""),
    ]


__all__ = ["fragments"]
