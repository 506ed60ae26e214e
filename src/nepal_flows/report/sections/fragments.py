"""Section on the fragments that were carved out of large cells."""

from nepal_flows.report.blocks import Block, Cell, Drawing, Section, table
from nepal_flows.report.data import FragmentView, ReportData
from nepal_flows.report.figures.carving import fragment_figure
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
    blocks += [_drawing(data, number, view) for number, view in enumerate(data.fragments)]
    return Section("fragments", "Fragments", blocks)


def _drawing(data: ReportData, number: int, view: FragmentView) -> Drawing:
    doc = view.document
    cutoff = max(data.campaign.settings["model"]["cutoff_A"])
    figure = fragment_figure(
        view.region,
        view.structure,
        grades=view.grades,
        parent_grades=view.parent_grades,
        method=doc.method or "",
        core_radius=float(doc.options.get("core_radius_A") or cutoff),
    )
    place = f"atom {doc.centre} of {doc.condition}, step {doc.step}"
    return Drawing(
        f"carved-{number}",
        figure,
        f"Slices through {place} in its parent of {doc.n_parent_atoms} atoms and in its fragment.",
        f"Newest round, {place}, a slice of 6 Å: in its parent with the box that was cut; the "
        "fragment with the grades its atoms had there; the fragment as it is labelled. Circle: "
        "the core, where nothing moves.",
    )


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
