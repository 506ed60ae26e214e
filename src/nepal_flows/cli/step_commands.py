"""The steps of the loop one by one, on the user's own files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from nepal_flows.cli.options import (
    JsonOption,
    QuietOption,
    ThreadsOption,
    memory_limit_MB,
    threads,
)
from nepal_flows.cli.output import note, print_json, print_lines
from nepal_flows.cli.progress import counter

MAX_STEPS = 10_000_000
"""Most steps of a training, as a campaign file allows."""

REFERENCE_ENERGIES = "reference_energies.json"
"""What a training writes beside nep.txt."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, command in (
        ("train", train),
        ("predict", predict),
        ("active-set", active_set),
        ("grade", grade),
        ("error-bars", error_bars),
        ("select", select),
        ("warmup", warmup),
    ):
        app.command(name)(command)


ModelArgument = Annotated[Path, typer.Argument(metavar="NEP_TXT", help="The potential, nep.txt.")]
StructuresArgument = Annotated[
    Path, typer.Argument(metavar="STRUCTURES", help="Structures, any format ASE reads.")
]
TrainArgument = Annotated[
    Path, typer.Argument(metavar="TRAIN", help="Training frames, any format ASE reads.")
]


def train(
    train_frames: TrainArgument,
    *,
    input_file: Annotated[
        Path, typer.Option("--input", metavar="NEP_IN", help="Hyper-parameters, nep.in.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for nep.txt, loss.out ...")],
    test: Annotated[
        Path | None, typer.Option("--test", help="Frames to test on; they change nothing.")
    ] = None,
    warm_start: Annotated[
        Path | None, typer.Option("--warm-start", help="Potential to start from, nep.txt.")
    ] = None,
    reference_energies: Annotated[
        Path | None,
        typer.Option(
            "--reference-energies",
            help="reference_energies.json to take off; fitted, or those beside --warm-start.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=0, max=MAX_STEPS, help="Adam steps; by default 2000."),
    ] = None,
    lbfgs_steps: Annotated[
        int | None,
        typer.Option("--lbfgs-steps", min=0, max=MAX_STEPS, help="L-BFGS steps; by default none."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier training in the folder.")
    ] = False,
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train a potential on labelled frames, as `nep` does."""
    import dataclasses

    from nepal_flows.cli.files import read_reference_energies
    from nepal_flows.cli.training_output import (
        training_content,
        training_lines,
        training_remarks,
    )
    from nepal_flows.core.nep.training import TrainingSettings
    from nepal_flows.engines.native_training import run_native_training

    beside = warm_start and warm_start.parent / REFERENCE_ENERGIES
    if reference_energies is None and beside is not None and beside.is_file():
        reference_energies = beside
        note(f"taking off the reference energies of {beside}, which the first training took off")
    settings = TrainingSettings()
    if steps is not None:
        settings = dataclasses.replace(settings, n_adam_steps=steps)
    if lbfgs_steps is not None:
        settings = dataclasses.replace(settings, n_lbfgs_steps=lbfgs_steps)
    with counter("training", quiet=quiet) as progress:
        run = run_native_training(
            input_file,
            train_frames,
            test_frames=test,
            out_directory=out,
            overwrite=overwrite,
            warm_start=warm_start,
            reference_energies=(
                None if reference_energies is None else read_reference_energies(reference_energies)
            ),
            settings=settings,
            seed=seed,
            n_threads=threads(n_threads),
            progress=lambda step, n_steps, _: progress(step, n_steps),
        )
    for remark in training_remarks(run, train_frames, test):
        note(remark)
    if as_json:
        print_json("train", training_content(run))
    else:
        print_lines(*training_lines(run))


def predict(
    model: ModelArgument,
    structures: StructuresArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    reference_energies: Annotated[
        Path | None,
        typer.Option(
            "--reference-energies",
            help="reference_energies.json of the training: energies per element to add.",
        ),
    ] = None,
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write energies, forces and virials of structures."""
    from nepal_flows.cli.files import read_reference_energies
    from nepal_flows.cli.step_output import prediction_content, prediction_lines
    from nepal_flows.engines.prediction_step import predict_file

    energies = None
    if reference_energies is not None:
        energies = read_reference_energies(reference_energies)
    with counter("predicting", quiet=quiet) as progress:
        result = predict_file(
            model,
            structures,
            out,
            reference_energies=energies,
            n_threads=threads(n_threads),
            progress=progress,
        )
    beside = model.parent / REFERENCE_ENERGIES
    if energies is None and beside.is_file() and not as_json:
        note(
            f"Energies are those of {model.name} alone; --reference-energies {beside} adds what "
            "training subtracted."
        )
    if as_json:
        print_json("predict", prediction_content(result))
    else:
        print_lines(*prediction_lines(result))


def active_set(
    model: ModelArgument,
    train_frames: TrainArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="The .asi file to write.")],
    variant: Annotated[
        Literal["subspace", "full"],
        typer.Option("--variant", help="subspace, or full as published."),
    ] = "subspace",
    rcond: Annotated[
        float | None,
        typer.Option("--rcond", help="Relative cut of singular values.", show_default="1e-6; 1e-8"),
    ] = None,
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Build the active set of a potential and its training frames."""
    from nepal_flows.cli.step_output import active_set_content, active_set_lines
    from nepal_flows.engines.active_set_step import active_set_file
    from nepal_flows.engines.input_frames import repeats_remark

    with counter("projecting", quiet=quiet) as progress:
        result = active_set_file(
            model,
            train_frames,
            out,
            variant=variant,
            rcond=rcond,
            memory_limit_MB=memory_limit_MB(),
            n_threads=threads(n_threads),
            progress=progress,
        )
    remark = repeats_remark(result.repeated, source=train_frames)
    if remark is not None:
        note(remark)
    if as_json:
        print_json("active-set", active_set_content(result))
    else:
        print_lines(*active_set_lines(result))


def grade(
    model: ModelArgument,
    active_set_file: Annotated[
        Path, typer.Argument(metavar="ASI", help="The active set, active_set.asi.")
    ],
    structures: StructuresArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write the extrapolation grade of every atom, and the largest of every frame."""
    from nepal_flows.cli.step_output import grading_content, grading_lines
    from nepal_flows.engines.grading_step import grade_file

    with counter("grading", quiet=quiet) as progress:
        result = grade_file(
            model,
            active_set_file,
            structures,
            out,
            n_threads=threads(n_threads),
            progress=progress,
        )
    if not result.is_verified and not as_json:
        note(
            f"{active_set_file} does not say which model it belongs to (no .npz master beside it); "
            "only its elements and size were compared."
        )
    if as_json:
        print_json("grade", grading_content(result))
    else:
        print_lines(*grading_lines(result))


def error_bars(
    model: ModelArgument,
    train_frames: TrainArgument,
    structures: StructuresArgument,
    *,
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    layer: Annotated[
        Literal["all", "last"],
        typer.Option("--layer", help="all parameters of the networks, or the last layer."),
    ] = "all",
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write Bayesian error bars of forces, energies and stresses; check them on labelled frames."""
    from nepal_flows.cli.step_output import error_bars_content, error_bars_lines
    from nepal_flows.engines.error_bars_step import error_bars_file

    with counter("error bars", quiet=quiet) as progress:
        result = error_bars_file(
            model,
            train_frames,
            structures,
            out,
            layer=layer,
            n_threads=threads(n_threads),
            progress=progress,
        )
    if as_json:
        print_json("error-bars", error_bars_content(result))
    else:
        print_lines(*error_bars_lines(result))


def select(
    model: ModelArgument,
    train_frames: TrainArgument,
    candidates: Annotated[
        Path, typer.Argument(metavar="CANDIDATES", help="Frames to choose from.")
    ],
    *,
    budget: Annotated[int, typer.Option("--budget", min=1, help="Most frames to choose.")],
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    threshold: Annotated[float, typer.Option("--threshold", help="Stop below this grade.")] = 5.0,
    ceiling: Annotated[
        float, typer.Option("--ceiling", help="Refuse frames graded above this.")
    ] = 1000.0,
    variant: Annotated[
        Literal["subspace", "full"], typer.Option("--variant", help="Of the active set.")
    ] = "subspace",
    n_threads: ThreadsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose the frames that teach most, with the reason for every one."""
    from nepal_flows.cli.selection_output import selection_content, selection_lines
    from nepal_flows.engines.selection_step import select_file

    with counter("projecting", quiet=quiet) as progress:
        result = select_file(
            model,
            train_frames,
            candidates,
            out,
            budget=budget,
            threshold=threshold,
            ceiling=ceiling,
            variant=variant,
            memory_limit_MB=memory_limit_MB(),
            n_threads=threads(n_threads),
            progress=progress,
        )
    if as_json:
        print_json("select", selection_content(result))
    else:
        print_lines(*selection_lines(result))


def warmup() -> None:
    """Compile all kernels now (once after installation; a minute)."""
    import time

    from nepal_flows.cli.output import seconds
    from nepal_flows.engines.warmup import compile_kernels_once

    began = time.monotonic()
    with counter("compiling kernels") as progress:
        compile_kernels_once(progress=progress)
    print_lines(f"kernels are compiled ({seconds(time.monotonic() - began)})")


__all__ = ["register"]
