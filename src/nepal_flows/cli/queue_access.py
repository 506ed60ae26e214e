"""FireWorks for commands: imported quietly, and only where a command needs it."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from nepal_flows.cli.locate import Located, located_campaign, server_records

if TYPE_CHECKING:
    from fireworks import LaunchPad


@overload
def located_launchpad(*, is_needed: Literal[True] = True) -> "LaunchPad": ...


@overload
def located_launchpad(*, is_needed: bool) -> "LaunchPad | None": ...


def located_launchpad(*, is_needed: bool = True) -> "LaunchPad | None":
    """Return the FireWorks database of this site, None if it is neither configured nor needed.

    FireWorks prints on stdout, when it is imported, which of several configurations it takes.

    Raises
    ------
    SettingsError, StoreUnavailableError
        If it cannot be used.
    """
    with contextlib.redirect_stdout(sys.stderr):
        from nepal_flows.cluster.launchpad import launchpad_file, site_launchpad

    if not is_needed and launchpad_file() is None:
        return None
    return site_launchpad()


def queued_campaign(target: Path | None) -> Located:
    """Return the campaign on record that a file, a folder, a name or an id names.

    Raises
    ------
    SettingsError
        If campaigns are kept in their folders here, where no queue finds them.
    CampaignError
        If there is no such campaign.
    """
    server_records()
    return located_campaign(target)


__all__ = ["located_launchpad", "queued_campaign"]
