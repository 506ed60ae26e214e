"""`nepal carve`: fragments of large cells."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nepal_flows.cli.options import JsonOption, QuietOption, ThreadsOption, threads
from nepal_flows.cli.output import note, print_json, print_lines
from nepal_flows.cli.progress import counter

MethodName = Literal["isolated", "naive", "searched", "relaxed", "healed", "auto"]


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("carve")(carve)


def carve(
    model: Annotated[Path, typer.Argument(metavar="NEP_TXT", help="The potential, nep.txt.")],
    active_set_file: Annotated[
        Path, typer.Argument(metavar="ASI", help="The active set, active_set.asi.")
    ],
    frames: Annotated[
        Path,
        typer.Argument(metavar="FRAMES", help="Large cells, extended XYZ with a column gamma."),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    train: Annotated[
        Path | None,
        typer.Option("--train", help="Training frames: no atoms come nearer than in them."),
    ] = None,
    method: Annotated[
        MethodName, typer.Option("--method", help="How fragments are made.")
    ] = "auto",
    budget: Annotated[int, typer.Option("--budget", min=1, help="Most fragments.")] = 20,
    per_frame: Annotated[
        int, typer.Option("--per-frame", min=1, help="Most centres of one frame.")
    ] = 10,
    max_atoms: Annotated[
        int, typer.Option("--max-atoms", min=1, help="Most atoms of a fragment.")
    ] = 300,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Grade from which an atom is unknown.")
    ] = 5.0,
    ceiling: Annotated[
        float | None, typer.Option("--ceiling", help="Pass over atoms graded above this.")
    ] = None,
    grade: Annotated[
        bool, typer.Option("--grade", help="Compute the grades instead of reading them.")
    ] = False,
    core_radius: Annotated[
        float | None,
        typer.Option("--core", help="Radius kept around a centre, Å; by default the cutoff."),
    ] = None,
    vacuum: Annotated[
        float, typer.Option("--vacuum", min=0.0, help="Width of empty layers for DFT, Å.")
    ] = 10.0,
    formula: Annotated[
        str | None, typer.Option("--formula", help="Keep whole formula units, as NaCl or GaAs.")
    ] = None,
    charges: Annotated[
        str | None, typer.Option("--charges", help="Keep neutral, with charges as Na:1,Cl:-1.")
    ] = None,
    bonds: Annotated[
        str | None,
        typer.Option("--bonds", help="Keep molecules whole, with longest bonds as O-H:1.2."),
    ] = None,
    cold: Annotated[
        bool, typer.Option("--cold", help="Do not rattle moved boundaries as hot as the parent.")
    ] = False,
    relax_cell: Annotated[
        bool, typer.Option("--relax-cell", help="Let healing change the lengths of the cell.")
    ] = False,
    keep_rejected: Annotated[
        bool, typer.Option("--keep-rejected", help="Write fragments that fail the gate too.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the rattling.")] = 0,
    report: Annotated[
        Path | None, typer.Option("--report", help="Folder for a page with figures.")
    ] = None,
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Cut small cells to label out of large ones, around the atoms a model knows least."""
    from nepal_flows.cli.carving_output import (
        carving_content,
        carving_lines,
        carving_options,
    )
    from nepal_flows.engines.carving_centres import CentreRules
    from nepal_flows.engines.carving_step import carve_file

    options = carving_options(
        method=method,
        core_radius=core_radius,
        max_atoms=max_atoms,
        vacuum=vacuum,
        formula=formula,
        charges=charges,
        bonds=bonds,
        warm=not cold,
        relax_cell=relax_cell,
    )
    rules = CentreRules(threshold=threshold, ceiling=ceiling, budget=budget, per_frame=per_frame)
    with counter("carving", quiet=quiet) as progress:
        result = carve_file(
            model,
            active_set_file,
            frames,
            out,
            rules=rules,
            options=options,
            train_path=train,
            regrade=grade,
            keep_rejected=keep_rejected,
            seed=seed,
            n_threads=threads(n_threads),
            progress=progress,
        )
    page = None
    if report is not None:
        from nepal_flows.report.carving import write_carving_page

        page = write_carving_page(result, report)
    if not result.is_verified and not as_json:
        note(
            f"{active_set_file} does not say which model it belongs to (no .npz master beside it); "
            "only its elements and size were compared."
        )
    if result.core_radius < result.cutoff:
        note(
            f"The core of {result.core_radius:g} Å is shorter than the cutoff of "
            f"{result.cutoff:g} Å: labels and grades of the centres are not the parents'."
        )
    if as_json:
        print_json("carve", carving_content(result, page))
    else:
        print_lines(*carving_lines(result, page))


__all__ = ["register"]
