"""`nepal force-constants`: a crystal's force constants, frequencies and anharmonicity."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nepal_flows.cli.options import JsonOption
from nepal_flows.cli.output import print_json, print_lines, table
from nepal_flows.errors import InputError

if TYPE_CHECKING:
    from nepal_flows.engines.force_constants.fit_step import FittedForceConstants


def register(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command("force-constants")(force_constants)


def force_constants(
    supercell: Annotated[
        Path, typer.Argument(metavar="SUPERCELL", help="The ideal supercell, any format ASE reads.")
    ],
    frames: Annotated[
        Path,
        typer.Argument(metavar="FRAMES", help="The same cell with atoms displaced, and forces."),
    ],
    *,
    cutoffs: Annotated[
        list[float],
        typer.Option("--cutoff", help="Å; once an order, from the second on."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for what is found.")],
    temperatures: Annotated[
        list[float] | None,
        typer.Option("--temperature", min=0.1, help="K; sample the dynamics. More than once."),
    ] = None,
    thermal: Annotated[
        list[str] | None,
        typer.Option(
            "--thermal",
            metavar="K:FRAMES",
            help="Frames of other dynamics at a temperature, with forces, as 300:md.xyz.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option("--samples", min=2, help="Frames to sample at a temperature.")
    ] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of dynamics and parts.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Fit force constants of a crystal, with their errors; frequencies with temperature."""
    from nepal_flows.engines.force_constants.fit_step import fit_file, summary

    found = fit_file(
        supercell,
        frames,
        cutoffs_A=cutoffs,
        temperatures_K=temperatures or (),
        thermal=_thermal(thermal or []),
        out=out,
        n_samples=samples,
        seed=seed,
    )
    if as_json:
        print_json("force-constants", summary(found))
        return
    print_lines(*_lines(found, out))


def _thermal(given: list[str]) -> dict[float, Path]:
    """Return files of frames by temperature."""
    found = {}
    for text in given:
        head, _, file = text.partition(":")
        try:
            temperature = float(head)
        except ValueError:
            temperature = 0.0
        if not (file and 0.0 < temperature < float("inf")):
            raise InputError(f"`--thermal {text}` must be a temperature and a file: 300:md.xyz.")
        found[temperature] = Path(file)
    return found


def _lines(found: "FittedForceConstants", out: Path) -> list[str]:
    by_order = ", ".join(
        f"{count} of order {order}" for order, count in enumerate(found.parameters_by_order, 2)
    )
    lines = [
        f"{sum(found.parameters_by_order)} parameters ({by_order}) fitted to {found.n_frames} "
        f"frames: force RMSE {1e3 * found.training_rmse:.1f} meV/Å"
    ]
    if found.holdout_rmse is not None:
        lines.append(
            f"on frames held out (cross-validation): {1e3 * found.holdout_rmse:.1f} meV/Å, error "
            f"over error bar {found.calibration:.2f}"
        )
    at = [("at rest", found.frequencies_THz)]
    at += [(f"{one.temperature_K:g} K", one.frequencies_THz) for one in found.vibrations]
    rows = [
        [name if k == 0 else "", when, " ".join(f"{f:.2f}" for f in frequencies[index])]
        for index, name in enumerate(found.points)
        for k, (when, frequencies) in enumerate(at)
    ]
    lines += ["", *table(["point", "at", "frequencies, THz"], rows), ""]
    lines.append(f"anharmonicity of the frames: {found.anharmonicity:.2f}")
    lines += [
        f"anharmonicity at {one.temperature_K:g} K: {one.anharmonicity:.2f}"
        for one in found.vibrations
    ]
    return [*lines, f"written to {out}"]


__all__ = ["force_constants", "register"]
