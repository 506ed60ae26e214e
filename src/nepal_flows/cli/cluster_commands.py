"""A campaign on a cluster: submit it, stop it, go on, and repair what broke."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nepal_flows.cli.exit_codes import ExitCode
from nepal_flows.cli.options import ApproveOption, CampaignArgument, JsonOption, RetryFailedOption
from nepal_flows.cli.output import note, print_json, print_lines

if TYPE_CHECKING:
    from nepal_flows.cluster.submit import Submission
    from nepal_flows.schemas import CampaignDoc


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, command in (
        ("submit", submit),
        ("stop", stop),
        ("resume", resume),
        ("extend", extend),
        ("doctor", doctor),
    ):
        app.command(name)(command)


CampaignFileArgument = Annotated[
    Path, typer.Argument(metavar="[CAMPAIGN]", help="The campaign file.")
]


def submit(
    campaign: CampaignFileArgument = Path("campaign.yaml"), *, as_json: JsonOption = False
) -> None:
    """Put a campaign into the FireWorks queue, from wherever it stands."""
    from nepal_flows.campaign.plan import build_plan
    from nepal_flows.campaign.read import load_campaign
    from nepal_flows.cli.locate import server_records
    from nepal_flows.cli.plan_output import labels_problem, problem_lines
    from nepal_flows.settings import read_settings

    loaded = load_campaign(campaign)
    planned = build_plan(loaded.campaign, loaded.structures)
    if planned.problems:
        note("\n".join(problem_lines(planned)))
    if planned.errors:
        raise typer.Exit(ExitCode.BAD_INPUT)
    missing = labels_problem(loaded)
    if missing is not None:
        note(f"Labels cannot be made on this machine, so see that the workers can: {missing}")
    from nepal_flows.cli.queue_access import located_launchpad

    launchpad = located_launchpad()
    from nepal_flows.cluster.submit import submit_campaign

    _show(
        "submit",
        submit_campaign(launchpad, server_records(), loaded, settings=read_settings()),
        as_json,
    )


def stop(
    campaign: CampaignArgument = None,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="End jobs that run, too: scancel, or SIGTERM.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Take a campaign out of the queue, or end its run here; what was made is kept.

    Jobs that run go on to their end, and what they make is stored; with --now they are ended, and
    are made again when the campaign goes on.
    """
    from nepal_flows.cli.locate import uses_server

    if not uses_server():
        _stop_here(campaign, as_json=as_json)
        return
    from nepal_flows.cli.cluster_output import queue_content, stopped_lines
    from nepal_flows.cli.queue_access import located_launchpad, queued_campaign

    launchpad = located_launchpad()
    from nepal_flows.cluster.queue import campaign_queue
    from nepal_flows.cluster.stop import stop_campaign

    located = queued_campaign(campaign)
    stopped = stop_campaign(launchpad, located.records, located.campaign.key, now=now)
    document = stopped.campaign
    if as_json:
        queue = queue_content(campaign_queue(launchpad, document.key))
        ended = {"n_ended": stopped.n_ended, "running": stopped.running}
        print_json("stop", {**_stopped_content(document), **ended, "queue": queue})
    else:
        print_lines(*stopped_lines(stopped))


def _stopped_content(document: "CampaignDoc") -> dict[str, str | None]:
    return {
        "campaign": document.name,
        "campaign_id": document.key,
        "end_state": document.end_state,
    }


def _stop_here(target: Path | None, *, as_json: bool) -> None:
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.stopping import end_run

    located = located_campaign(target)
    n_ended = int(end_run(located.directory))
    document = located_campaign(target).campaign
    if as_json:
        ended = {"n_ended": n_ended, "running": ()}
        print_json("stop", {**_stopped_content(document), **ended, "queue": None})
    else:
        state = f"its run was ended ({document.end_state})" if n_ended else "nothing runs it here"
        print_lines(f"{document.name}: {state}", "Go on with: nepal run CAMPAIGN")


def resume(
    campaign: CampaignArgument = None,
    *,
    approve: ApproveOption = False,
    retry_failed: RetryFailedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Go on with a campaign that was stopped, waits for approval, or is held up by failed jobs."""
    from nepal_flows.cli.queue_access import located_launchpad, queued_campaign
    from nepal_flows.settings import read_settings

    launchpad = located_launchpad()
    from nepal_flows.cluster.submit import resume_campaign
    from nepal_flows.flows.local import approve_waiting

    located = queued_campaign(campaign)
    records, document = located.records, located.campaign
    if approve:
        approve_waiting(records, document.key)
    resumed = resume_campaign(
        launchpad, records, document.key, settings=read_settings(), retry_failed=retry_failed
    )
    _show("resume", resumed, as_json)


def extend(
    campaign: CampaignFileArgument = Path("campaign.yaml"),
    *,
    labels: Annotated[int | None, typer.Option("--labels", min=1, help="Most labels.")] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Most iterations.")
    ] = None,
    core_hours: Annotated[
        float | None, typer.Option("--core-hours", min=0.0, help="Most core-hours.")
    ] = None,
    gpu_hours: Annotated[
        float | None, typer.Option("--gpu-hours", min=0.0, help="Most GPU-hours.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Take over what a campaign file asks for now, after changing its budget, and go on."""
    from nepal_flows.campaign.extend import change_budget
    from nepal_flows.cli.locate import server_records, uses_server

    budget = {
        "labels": labels,
        "iterations": iterations,
        "core_hours": core_hours,
        "gpu_hours": gpu_hours,
    }
    if not uses_server():
        loaded = change_budget(campaign, **budget)
        if as_json:
            print_json("extend", {"campaign": loaded.campaign.name, "is_new": False, "queue": None})
        else:
            print_lines(f"{campaign} is changed. Go on with: nepal run {campaign}")
        return
    from nepal_flows.cli.queue_access import located_launchpad
    from nepal_flows.settings import read_settings

    launchpad, records = located_launchpad(), server_records()
    loaded = change_budget(campaign, **budget)  # once both databases have answered
    from nepal_flows.cluster.submit import extend_campaign

    extended = extend_campaign(launchpad, records, loaded, settings=read_settings())
    _show("extend", extended, as_json)


def doctor(
    campaign: CampaignArgument = None,
    *,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put right what can be: lost runs, locks, permissions.")
    ] = False,
    blobs: Annotated[
        bool, typer.Option("--blobs", help="Read all bytes, and compare them with their hashes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for what is wrong with the database, the queue and its jobs, and say what to do."""
    from nepal_flows.cli.doctor_output import all_findings, findings_content, findings_lines

    findings = list(all_findings(campaign, reads_blobs=blobs, fix=fix))
    if as_json:
        print_json("doctor", findings_content(findings))
    else:
        print_lines(*findings_lines(findings))
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(ExitCode.PROBLEMS)


def _show(kind: str, submission: "Submission", as_json: bool) -> None:
    from nepal_flows.cli.cluster_output import submission_content, submission_lines

    if as_json:
        print_json(kind, submission_content(submission))
    else:
        print_lines(*submission_lines(submission))


__all__ = ["register"]
