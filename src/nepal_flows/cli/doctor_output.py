"""Collect what `nepal doctor` looks at, and show it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nepal_flows.cli.locate import located_campaign, server_records
from nepal_flows.cli.queue_access import located_launchpad
from nepal_flows.errors import NepalError
from nepal_flows.settings import read_settings

if TYPE_CHECKING:
    from nepal_flows.cluster.doctor import Finding

_MARKS = {"ok": "ok      ", "note": "note    ", "problem": "PROBLEM "}


def all_findings(target: Path | None, *, reads_blobs: bool, fix: bool) -> Iterator["Finding"]:
    """Yield everything that was looked at, put right where asked.

    Parameters
    ----------
    target
        The campaign whose bytes are read; None for all in the store.
    reads_blobs
        Whether bytes are read.
    fix
        Whether what can be is put right.
    """
    for finding in _findings(target, reads_blobs=reads_blobs):
        yield _tried(finding) if fix else finding


def _tried(finding: "Finding") -> "Finding":
    from nepal_flows.cluster.doctor import Finding, fixed

    try:
        return fixed(finding)
    except Exception as error:  # the rest is still to be looked at
        return Finding("problem", f"{finding.what} It cannot be put right: {error}")


def _findings(target: Path | None, *, reads_blobs: bool) -> Iterator["Finding"]:
    try:
        launchpad = located_launchpad()
    except NepalError as error:
        yield _problem(error)
        launchpad = None
    from nepal_flows.cluster.doctor import (
        campaign_findings,
        queue_findings,
        site_findings,
        store_findings,
    )
    from nepal_flows.cluster.slurm import slurm_queue

    if launchpad is not None:
        yield from site_findings(launchpad, directories=(Path.cwd(),))
        yield from queue_findings(launchpad, slurm_queue)
    try:
        records = server_records()
        campaign_id = None if target is None else located_campaign(target).campaign.key
    except NepalError as error:
        yield _problem(error)
        return
    if launchpad is not None:
        yield from campaign_findings(launchpad, records, settings=read_settings())
    yield from store_findings(records, campaign_id=campaign_id, reads_blobs=reads_blobs)


def _problem(error: NepalError) -> "Finding":
    from nepal_flows.cluster.doctor import Finding

    return Finding("problem", str(error))


def findings_content(findings: Sequence["Finding"]) -> dict[str, Any]:
    """Return the JSON document of what was found."""
    return {
        "n_problems": sum(finding.level == "problem" for finding in findings),
        "findings": [
            {
                "level": finding.level,
                "what": finding.what,
                "remedy": finding.remedy,
                "can_be_fixed": finding.fix is not None,
            }
            for finding in findings
        ],
    }


def findings_lines(findings: Sequence["Finding"]) -> list[str]:
    """Return what was found as text: a line each, and a line of what to do."""
    lines = []
    for finding in findings:
        lines.append(_MARKS[finding.level] + finding.what)
        if finding.remedy:
            by_fix = "`nepal doctor --fix`: " if finding.fix is not None else ""
            lines.append(f"        -> {by_fix}{finding.remedy}")
    n_problems = sum(finding.level == "problem" for finding in findings)
    plural = "s" * (n_problems != 1)
    lines.append(f"{n_problems} problem{plural}" if n_problems else "Nothing is wrong.")
    return lines


__all__ = ["all_findings", "findings_content", "findings_lines"]
