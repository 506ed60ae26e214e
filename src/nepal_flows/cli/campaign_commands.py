"""Write, look through and run a campaign."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nepal_flows.cli.exit_codes import ExitCode
from nepal_flows.cli.options import ApproveOption, JsonOption, QuietOption, RetryFailedOption
from nepal_flows.cli.output import note, print_json, print_lines
from nepal_flows.errors import LabelError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, command in (("init", init), ("plan", plan), ("run", run)):
        app.command(name)(command)


FileArgument = Annotated[Path, typer.Argument(metavar="[CAMPAIGN]", help="The campaign file.")]


def init(
    structures: Annotated[
        list[Path] | None,
        typer.Argument(metavar="STRUCTURE ...", help="Starting structures, any format ASE reads."),
    ] = None,
    *,
    structure: Annotated[
        list[Path] | None,
        typer.Option("--structure", "-s", help="A starting structure, before the others."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File to write; by default campaign.yaml, or fireworker_configs."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the campaign.")] = None,
    labels: Annotated[
        Literal["emt", "espresso", "cp2k", "vasp"] | None,
        typer.Option("--labels", help="Who labels; by default what suits and is there."),
    ] = None,
    pseudo_dir: Annotated[
        Path | None, typer.Option("--pseudo-dir", help="UPF files, for Quantum ESPRESSO.")
    ] = None,
    alloy: Annotated[
        bool, typer.Option("--alloy", help="The elements share their sites at random.")
    ] = False,
    max_temperature: Annotated[
        float | None,
        typer.Option("--max-temperature", min=1.0, help="End of the crystal's ramp, K."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    cluster: Annotated[
        bool,
        typer.Option("--cluster", help="Write configurations of FireWorks' workers instead."),
    ] = False,
    answers: Annotated[
        list[str] | None,
        typer.Option("--set", help="With --cluster, an answer: NAME=VALUE (repeatable)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a commented campaign file for these structures, or configurations for a cluster."""
    if cluster:
        from nepal_flows.cli.cluster_init import init_cluster

        init_cluster(
            out or Path("fireworker_configs"), answers or [], overwrite=overwrite, as_json=as_json
        )
        return
    from nepal_flows.campaign.init import init_campaign
    from nepal_flows.settings import read_settings

    out = out or Path("campaign.yaml")
    choices = init_campaign(
        [*(structure or []), *(structures or [])],
        out,
        name=name,
        code=labels,
        pseudo_dir=pseudo_dir,
        mixes=alloy,
        max_temperature=max_temperature,
        workers=read_settings().n_workers,
        overwrite=overwrite,
    )
    for remark in choices.remarks:
        note(remark)
    if as_json:
        print_json("init", {"out": out, "choices": choices})
        return
    radial, angular = choices.cutoffs
    print_lines(
        f"{out}: {', '.join(choices.elements)}; cutoffs {radial:g} and {angular:g} Å; labels by "
        f"{choices.code}; {choices.n_seeds} seeds; ramps to {choices.solid_temperature:g} K",
        f"Look through it, then: nepal plan {out}",
    )


def plan(
    campaign: FileArgument = Path("campaign.yaml"),
    *,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the exact inputs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a campaign will do and cost; refuse nonsense; run nothing."""
    from nepal_flows.campaign.plan import build_plan
    from nepal_flows.campaign.read import load_campaign
    from nepal_flows.cli.plan_output import (
        label_input,
        labels_problem,
        plan_content,
        plan_lines,
    )

    loaded = load_campaign(campaign)
    planned = build_plan(loaded.campaign, loaded.structures)
    text = label_input(loaded, planned.sample)
    missing = labels_problem(loaded)
    if as_json:
        print_json("plan", {**plan_content(loaded, planned, text), "labels_problem": missing})
    else:
        print_lines(*plan_lines(loaded, planned, text, brief=brief))
        if missing is not None:
            print_lines("", f"Labels cannot be made on this machine: {missing}")
    if planned.errors:
        raise typer.Exit(ExitCode.BAD_INPUT)


def run(
    campaign: FileArgument = Path("campaign.yaml"),
    *,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="The campaign's folder; by default beside the file."),
    ] = None,
    validation_seed: Annotated[
        int | None,
        typer.Option("--validation-seed", min=0, help="Seed of the labeler's trajectories."),
    ] = None,
    approve: ApproveOption = False,
    retry_failed: RetryFailedOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a campaign on this machine, from wherever it stands."""
    from nepal_flows.cli.stopping import Terminated, ended_by_sigterm

    try:
        with ended_by_sigterm():
            _run_to_end(
                campaign,
                directory,
                {
                    "validation_seed": validation_seed,
                    "approve": approve,
                    "retry_failed": retry_failed,
                },
                as_json=as_json,
                quiet=quiet,
            )
    except Terminated:
        note("ended by SIGTERM; the same command again continues where it stopped")
        raise typer.Exit(ExitCode.TERMINATED) from None


def _run_to_end(
    campaign: Path,
    directory: Path | None,
    choices: Mapping[str, Any],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from nepal_flows.campaign.plan import build_plan
    from nepal_flows.campaign.read import load_campaign
    from nepal_flows.cli.logs import log_to_file
    from nepal_flows.cli.plan_output import labels_problem, problem_lines
    from nepal_flows.cli.progress import CampaignProgress

    loaded = load_campaign(campaign)
    planned = build_plan(loaded.campaign, loaded.structures)
    if planned.errors:
        note("\n".join(problem_lines(planned)))
        raise typer.Exit(ExitCode.BAD_INPUT)
    missing = labels_problem(loaded)
    if missing is not None:
        raise LabelError(missing)
    from nepal_flows.cli.queue_access import require_not_queued

    require_not_queued(loaded)
    from nepal_flows.cli.report_output import finished_content, finished_lines
    from nepal_flows.flows.local import run_campaign

    folder = directory or loaded.directory
    with log_to_file(folder / "run.log"), CampaignProgress(quiet=quiet) as listener:
        result = run_campaign(campaign, directory=folder, listener=listener, **choices)
    if as_json:
        print_json("run", finished_content(result))
    else:
        print_lines(*finished_lines(result, campaign))
    if result.waiting_selection is None and result.campaign.end_state != "converged":
        raise typer.Exit(ExitCode.NOT_CONVERGED)


__all__ = ["register"]
