"""Ask the store: where a campaign stands, what it holds, and take it out."""

from pathlib import Path
from typing import Annotated

import typer

from nepal_flows.cli.options import CampaignArgument, JsonOption, QuietOption
from nepal_flows.cli.output import print_json, print_lines, table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("status")(status)
    app.command("report")(report)
    app.add_typer(query_app, name="query")


def status(
    campaign: CampaignArgument = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Say it again and again, until the campaign ends.")
    ] = False,
    every: Annotated[
        float, typer.Option("--every", min=1.0, help="Seconds between two looks of `--watch`.")
    ] = 30.0,
    as_json: JsonOption = False,
) -> None:
    """Say where a campaign stands, what is queued, and what is still missing."""
    import time

    from nepal_flows.cli.output import clear_screen, note
    from nepal_flows.errors import StoreUnavailableError

    if not watch:
        _show_status(campaign, as_json=as_json)
        return
    while True:
        clear_screen()
        try:
            if not _show_status(campaign, as_json=as_json):
                return
        except StoreUnavailableError as error:  # it may come back
            note(f"error: {error}")
        time.sleep(every)


def _show_status(campaign: Path | None, *, as_json: bool) -> bool:
    """Print where a campaign stands; return whether it is at work."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.report_output import status_content, status_lines
    from nepal_flows.cli.state import campaign_state

    located = located_campaign(campaign)
    state = campaign_state(located)
    if as_json:
        print_json("status", status_content(located, state))
    else:
        print_lines(*status_lines(located, state))
    if state.queue_error is not None:
        raise state.queue_error
    return state.is_running


def report(
    campaign: CampaignArgument = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="HTML file; by default report.html in the campaign's folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a campaign as one HTML page with figures."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.report_output import write_campaign_report
    from nepal_flows.cli.state import campaign_state

    located = located_campaign(campaign)
    path = write_campaign_report(located, out, running=campaign_state(located).is_running)
    if as_json:
        print_json("report", {"out": path})
    else:
        print_lines(str(path))


query_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Answers from the store: labels, ancestry, cost, and documents of any kind.",
)

LimitOption = Annotated[int, typer.Option("--limit", min=0, help="Most rows; 0 for all.")]
CampaignOption = Annotated[
    Path | None,
    typer.Option("--campaign", "-c", help="Campaign file or folder; by default the one here."),
]


@query_app.command("labels")
def query_labels(
    *,
    campaign: CampaignOption = None,
    element: Annotated[
        list[str] | None, typer.Option("--element", help="Holds this element (repeatable).")
    ] = None,
    iteration: Annotated[
        int | None, typer.Option("--iteration", help="Made in this iteration; -1 for seeds.")
    ] = None,
    condition: Annotated[
        str | None, typer.Option("--condition", help="Found in this condition.")
    ] = None,
    role: Annotated[str | None, typer.Option("--role", help="train or holdout.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Quarantined ones only.")] = False,
    gamma_min: Annotated[float | None, typer.Option("--gamma-min", help="Smallest grade.")] = None,
    gamma_max: Annotated[float | None, typer.Option("--gamma-max", help="Largest grade.")] = None,
    limit: LimitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """List labels, by element, iteration, condition, role and grade."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.queries import LabelFilter, label_rows

    wanted = LabelFilter(
        elements=tuple(element or ()),
        iteration=iteration,
        condition=condition,
        role=role,
        failed=failed,
        gamma_min=gamma_min,
        gamma_max=gamma_max,
    )
    rows = label_rows(located_campaign(campaign), wanted, limit=limit)
    if as_json:
        print_json("query-labels", {"n": len(rows), "labels": rows})
        return
    columns = {
        "label": "key",
        "it": "iteration",
        "formula": "formula",
        "atoms": "n_atoms",
        "role": "role",
        "status": "status",
        "condition": "condition",
        "step": "step",
        "gamma": "gamma",
        "Fmax eV/Å": "force_max_eV_per_A",
        "s": "wall_s",
        "reason": "reason",
    }
    cells = [
        [row[name][:12] if name == "key" else row[name] for name in columns.values()]
        for row in rows
    ]
    print_lines(*table(list(columns), cells), f"{len(rows)} labels")


@query_app.command("ancestry")
def query_ancestry(
    label: Annotated[str, typer.Argument(metavar="LABEL", help="Key of a label, or its start.")],
    *,
    campaign: CampaignOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trace a training frame: parent run, step, grade, model, label inputs, cost."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.queries import ancestry

    content = ancestry(located_campaign(campaign), label)
    if as_json:
        print_json("query-ancestry", content)
        return
    lines = []
    for section, values in content.items():
        if values is None:
            continue
        lines.append(section)
        lines += [f"  {name:<22}{value}" for name, value in values.items() if value is not None]
    print_lines(*lines)


@query_app.command("cost")
def query_cost(*, campaign: CampaignOption = None, as_json: JsonOption = False) -> None:
    """Sum up elapsed, CPU and GPU time, by stage."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.queries import cost_rows

    rows = cost_rows(located_campaign(campaign))
    if as_json:
        print_json("query-cost", {"stages": rows})
        return
    columns = ["stage", "documents", "wall_s", "cpu_s", "gpu_s"]
    print_lines(*table(columns, [[row[name] for name in columns] for row in rows]))


@query_app.command("documents")
def query_documents(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help="label, model, exploration, iteration ...")
    ],
    *,
    campaign: CampaignOption = None,
    where: Annotated[
        str,
        typer.Option("--where", help="Criteria as MongoDB takes them, e.g. '{\"iteration\": 2}'"),
    ] = "{}",
    fields: Annotated[
        str | None, typer.Option("--fields", help="Fields to print, with commas between.")
    ] = None,
    limit: LimitOption = 0,
) -> None:
    """Print documents of any kind as JSON, one a line."""
    import json

    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.cli.queries import document_rows

    located = located_campaign(campaign)
    for row in document_rows(located, kind, where, fields=fields, limit=limit):
        print_lines(json.dumps(row, ensure_ascii=False))


__all__ = ["QuietOption", "register"]
