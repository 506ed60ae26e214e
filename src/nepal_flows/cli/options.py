"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document (see docs/reference/cli.md).")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="Threads; by default all cores.")
]
CampaignArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CAMPAIGN]",
        help="Campaign file, or the campaign's folder; by default the one found here.",
    ),
]
ApproveOption = Annotated[
    bool, typer.Option("--approve", help="Label the selection that waits for approval.")
]
RetryFailedOption = Annotated[
    bool, typer.Option("--retry-failed", help="Make quarantined and damaged labels again.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def threads(given: int | None) -> int:
    """Return the number of threads: as given, or the site's setting."""
    if given is not None:
        return given
    from nepal_flows.settings import read_settings

    return read_settings().n_threads


def memory_limit_MB() -> int:
    """Return the memory that one step may take, as the site's settings say."""
    from nepal_flows.settings import read_settings

    return read_settings().memory_limit_MB


__all__ = [
    "ApproveOption",
    "CampaignArgument",
    "JsonOption",
    "QuietOption",
    "RetryFailedOption",
    "ThreadsOption",
    "memory_limit_MB",
    "threads",
]
