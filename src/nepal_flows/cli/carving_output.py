"""What `nepal carve` understands and how it shows its fragments."""

from pathlib import Path
from typing import Any

from nepal_flows.cli.output import table
from nepal_flows.core.carving.clashes import Composition
from nepal_flows.core.carving.healing import HealingOptions
from nepal_flows.core.carving.options import CarvingOptions, Method
from nepal_flows.engines.carving_frames import CarvedFragment
from nepal_flows.engines.carving_step import CarvedFile
from nepal_flows.io.formulas import parsed_bonds, parsed_charges, parsed_formula
from nepal_flows.schemas.carving import carving_document


def carving_options(
    *,
    method: Method,
    core_radius: float | None,
    max_atoms: int,
    vacuum: float,
    formula: str | None,
    charges: str | None,
    bonds: str | None,
    warm: bool,
    relax_cell: bool,
) -> CarvingOptions:
    """Return the options of a carving from what was typed."""
    return CarvingOptions(
        method=method,
        core_radius=core_radius,
        max_atoms=max_atoms,
        vacuum=vacuum,
        composition=Composition(
            formula=parsed_formula(formula) if formula else {},
            charges=parsed_charges(charges) if charges else {},
        ),
        bonds=parsed_bonds(bonds) if bonds else {},
        warm=warm,
        healing=HealingOptions(relax_cell=relax_cell),
    )


def carving_content(result: CarvedFile, page: Path | None) -> dict[str, Any]:
    """Return the JSON document of a carving."""
    frames = result.frames
    return {
        "out": result.path,
        "page": page,
        "model_sha256": result.model_sha256,
        "is_verified": result.is_verified,
        "n_frames": frames.n_frames,
        "n_unknown_atoms": frames.n_unknown,
        "n_centres": frames.n_centres,
        "n_accepted": len(frames.accepted),
        "refused": frames.refused,
        "fragments": [
            carving_document(fragment, key=str(k), model_sha256=result.model_sha256)
            for k, fragment in enumerate(frames.fragments)
        ],
    }


def carving_lines(result: CarvedFile, page: Path | None) -> list[str]:
    """Return every fragment as a line, and a summary."""
    frames = result.frames
    if not frames.n_unknown:
        return [f"{frames.n_frames} frames, no unknown atom; {result.path} is empty"]
    columns = ["frame", "atom", "gamma", "method", "atoms", "boundary", "in parent", "dF", "kept"]
    refused = ", ".join(f"{number} {reason}" for reason, number in frames.refused.items())
    lines = table(columns, [_row(fragment) for fragment in frames.fragments])
    lines += [f"  {f.centre.atom}: {f.reason}" for f in frames.fragments if f.reason]
    lines.append(
        f"{len(frames.accepted)} fragments accepted of {len(frames.fragments)}, in {result.path}; "
        f"{frames.n_unknown} unknown atoms in {frames.n_frames} frames, {frames.n_centres} centres"
        + (f"; not carved: {refused}" if refused else "")
    )
    return lines if page is None else [*lines, f"figures in {page}"]


def _row(carved: CarvedFragment) -> list[Any]:
    head: list[Any] = [carved.centre.frame, carved.centre.atom, carved.centre.grade]
    if carved.carving is None:
        return [*head, None, None, None, None, None, "no"]
    kept = carved.carving.fidelity
    return [
        *head,
        carved.carving.method,
        carved.carving.fragment.n_atoms,
        kept.boundary_grade_mean,
        kept.parent_boundary_grade_mean,
        max(kept.centre_force_change, kept.shell_force_change),
        "yes" if carved.reason is None else "no",
    ]


__all__ = ["carving_content", "carving_lines", "carving_options"]
