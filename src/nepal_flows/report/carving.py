"""The page of `nepal carve`: every fragment in its parent, and what it kept."""

from collections.abc import Sequence
from pathlib import Path

from nepal_flows import __version__
from nepal_flows.engines.carving_frames import CarvedFragment
from nepal_flows.engines.carving_step import CarvedFile
from nepal_flows.errors import RecordError
from nepal_flows.report.blocks import Block, Cell, Drawing, Section, Table, table
from nepal_flows.report.figures.carving import fragment_figure
from nepal_flows.report.page import page_environment

MOST_FIGURES = 12
"""Fragments that are drawn; the table has them all."""

_COLUMNS = (
    "centre", "method", "atoms", "gamma", "boundary", "in the parent", "force, centre",
    "force, shell", "nearest", "moved", "removed", "kept",
)  # fmt: skip


def write_carving_page(result: CarvedFile, directory: Path | str) -> Path:
    """Write the page of a carving into a folder and return its path.

    Raises
    ------
    RecordError
        If the file cannot be written.
    """
    path = Path(directory) / "carving.html"
    text = carving_page(result)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"The page cannot be written to `{path}`: {error.strerror or error}. Give another "
            "folder with `--report`."
        ) from error
    return path


def carving_page(result: CarvedFile) -> str:
    """Return the page of a carving as HTML without any outside reference."""
    frames = result.frames
    facts = [
        f"{frames.n_frames} frames",
        f"{frames.n_unknown} unknown atoms",
        f"{frames.n_centres} centres",
        f"{len(frames.accepted)} of {len(frames.fragments)} fragments accepted",
    ]
    drawn = [f for f in frames.fragments if f.carving is not None][:MOST_FIGURES]
    sections = [
        Section("fragments", "Fragments", fidelity_blocks(frames.fragments)),
        Section("figures", "In their parents", fragment_drawings(drawn)),
    ]
    return (
        page_environment()
        .get_template("carving.html.j2")
        .render(facts=facts, sections=sections, version=__version__)
    )


def fidelity_blocks(fragments: Sequence[CarvedFragment]) -> list[Block]:
    """Return the table of what fragments kept, and of what became of the other centres."""
    rows = [_row(f) for f in fragments if f.carving is not None]
    failed = [
        (f"{f.centre.atom} of frame {f.centre.frame}", f.reason or "")
        for f in fragments
        if f.carving is None
    ]
    found: list[Block] = []
    if rows:
        found.append(
            table(
                "What every fragment kept of its parent. gamma: of the centre, the parent's by "
                "construction; boundary: mean grade of the atoms outside of the core, here and in "
                "the parent; force: change of the model's force, eV/Å; nearest: smallest distance "
                "over the usual one.",
                _COLUMNS,
                rows,
                text_columns=("centre", "method", "kept"),
            )
        )
    if failed:
        found.append(Table("Centres without a fragment.", ("centre", "why"), tuple(failed)))
    return found


def fragment_drawings(fragments: Sequence[CarvedFragment]) -> list[Block]:
    """Return a figure for every fragment."""
    found: list[Block] = []
    for number, carved in enumerate(fragments):
        carving, centre = carved.carving, carved.centre
        if carving is None:
            continue
        found.append(
            Drawing(
                f"fragment-{number}",
                fragment_figure(
                    centre.region,
                    carving.fragment.structure,
                    grades=carving.fidelity.grades,
                    parent_grades=carving.fidelity.parent_grades,
                    method=carving.method,
                    core_radius=carving.fragment.core_radius,
                ),
                f"Slices through atom {centre.atom} of frame {centre.frame} in its parent of "
                f"{centre.n_parent_atoms} atoms and in its fragment of {carving.fragment.n_atoms}.",
                f"Atom {centre.atom} of frame {centre.frame}, a slice of 6 Å: in its parent with "
                f"the box that was cut; the fragment with the grades its atoms had there; the "
                f"fragment as it is labelled ({carving.method}). Circle: the core.",
            )
        )
    return found


def _row(carved: CarvedFragment) -> tuple[Cell | str, ...]:
    assert carved.carving is not None
    carving, kept = carved.carving, carved.carving.fidelity
    return (
        f"{carved.centre.atom} of frame {carved.centre.frame}",
        carving.method,
        str(carving.fragment.n_atoms),
        f"{kept.centre_grade:.4g}",
        f"{kept.boundary_grade_mean:.3g}",
        f"{kept.parent_boundary_grade_mean:.3g}",
        f"{kept.centre_force_change:.3f}",
        f"{kept.shell_force_change:.3f}",
        f"{kept.smallest_distance:.2f}",
        str(kept.n_moved),
        str(kept.n_removed),
        Cell("accepted", "yes") if carved.reason is None else Cell("no", "no", hint=carved.reason),
    )


__all__ = [
    "carving_page",
    "fidelity_blocks",
    "fragment_drawings",
    "write_carving_page",
]
