"""Validate a silicon campaign: ``python -m silicon CAMPAIGN [--label]``."""

import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from nepal_flows.campaign.read import load_campaign
from nepal_flows.engines.pool import close_shared_pool
from nepal_flows.errors import CampaignError, NepalError
from silicon.codes import code_differences
from silicon.figures import write_figures
from silicon.page import page
from silicon.references import References
from silicon.results import content, found
from silicon.subject import subject
from silicon.unseen import ASKED

DOCS = Path(__file__).parents[1]
LABELS = "labels.npz"
OTHERS = {"espresso": "silicon-cp2k", "cp2k": "silicon-espresso"}
"""Campaigns whose frames a code shares."""


def validate(
    campaign: Annotated[Path, typer.Argument(help="Campaign file of silicon with DFT labels.")],
    *,
    label: Annotated[
        bool, typer.Option("--label", help="Make the DFT labels that are missing.")
    ] = False,
    relabel: Annotated[
        bool, typer.Option("--relabel", help="Make all DFT labels again; forget those on record.")
    ] = False,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Labels side by side.")] = 1,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="Folder for labels under way; by default the campaign's."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = DOCS,
) -> None:
    """Compare a silicon campaign's model with its own DFT and write the page."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    loaded = load_campaign(campaign)
    settings = loaded.campaign
    if settings.labels.code not in ASKED or tuple(settings.model.elements) != ("Si",):
        raise CampaignError(
            f"`{campaign}` is a campaign of {', '.join(settings.model.elements)} with labels by "
            f"{settings.labels.code}; this compares silicon with {' or '.join(ASKED)}. Try "
            "workflows/silicon-espresso.yaml."
        )
    folder = out / settings.name
    references = References(
        loaded,
        folder / LABELS,
        store or loaded.directory / "validation",
        may_label=label or relabel,
        workers=workers,
    )
    if relabel:
        references.forget()
    judged = subject(loaded, folder)
    findings = found(judged, references)
    versions = {name: version(name) for name in ("nepal-flows", "phonopy", "ase", "numpy")}
    results = content(findings, versions)
    other = out / OTHERS[settings.labels.code] / LABELS
    if other.exists():
        results["other_code"] = code_differences(folder / LABELS, other)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (folder / "results.json").write_text(text + "\n", encoding="utf-8")
    write_figures(findings, folder)
    remarks = folder / "remarks.md"
    written = page(
        results,
        folder=settings.name,
        remarks=remarks.read_text(encoding="utf-8") if remarks.exists() else "",
        command=f"make validate CAMPAIGN=workflows/{campaign.name}",
    )
    (out / f"{settings.name}.md").write_text(written, encoding="utf-8")
    typer.echo(f"{out / settings.name}.md")


def main() -> None:
    """Run the command; errors that a user can mend are one line."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(validate)
    try:
        app()
    except NepalError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from error
    finally:
        close_shared_pool()


if __name__ == "__main__":
    main()
