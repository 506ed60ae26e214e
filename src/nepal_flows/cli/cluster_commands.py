"""A campaign on a cluster: submit it, stop it, go on, and repair what broke."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nepal_flows.cli.exit_codes import ExitCode
from nepal_flows.cli.options import ApproveOption, CampaignArgument, JsonOption, RetryFailedOption
from nepal_flows.cli.output import note, print_json, print_lines

if TYPE_CHECKING:
    from nepal_flows.cluster.submit import Submission


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


def stop(campaign: CampaignArgument = None, *, as_json: JsonOption = False) -> None:
    """Take a campaign out of the queue; what was made is kept, what runs is stored when it ends."""
    from nepal_flows.cli.cluster_output import queue_content
    from nepal_flows.cli.queue_access import located_launchpad, queued_campaign

    launchpad = located_launchpad()
    from nepal_flows.cluster.queue import campaign_queue
    from nepal_flows.cluster.stop import stop_campaign

    located = queued_campaign(campaign)
    stopped = stop_campaign(launchpad, located.records, located.campaign.key)
    if as_json:
        queue = queue_content(campaign_queue(launchpad, stopped.key))
        content = {"campaign": stopped.name, "campaign_id": stopped.key}
        print_json("stop", {**content, "end_state": stopped.end_state, "queue": queue})
    else:
        print_lines(
            f"{stopped.name}: {stopped.end_state}; nothing of it is queued any more",
            f"Go on with: nepal resume {stopped.name}",
        )


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
    from nepal_flows.campaign import Campaign
    from nepal_flows.cluster.submit import resume_campaign
    from nepal_flows.flows.local import approve_waiting, remove_failed

    located = queued_campaign(campaign)
    records, document = located.records, located.campaign
    if approve:
        approve_waiting(records, document.key)
    if retry_failed:
        remove_failed(records, document.key, Campaign.model_validate(document.settings))
    resumed = resume_campaign(launchpad, records, document.key, settings=read_settings())
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
    as_json: JsonOption = False,
) -> None:
    """Take over what a campaign file asks for now, after changing its budget, and go on."""
    from nepal_flows.campaign.extend import change_budget
    from nepal_flows.cli.locate import server_records, uses_server

    loaded = change_budget(campaign, labels=labels, iterations=iterations, core_hours=core_hours)
    if not uses_server():
        if as_json:
            print_json("extend", {"campaign": loaded.campaign.name, "is_new": False, "queue": None})
        else:
            print_lines(f"{campaign} is changed. Go on with: nepal run {campaign}")
        return
    from nepal_flows.cli.queue_access import located_launchpad
    from nepal_flows.settings import read_settings

    launchpad = located_launchpad()
    from nepal_flows.cluster.submit import extend_campaign

    extended = extend_campaign(launchpad, server_records(), loaded, settings=read_settings())
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
