"""FireWorks for commands: imported quietly, and only where a command needs it."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from nepal_flows.cli.locate import Located, located_campaign, server_records, uses_server
from nepal_flows.cli.output import note
from nepal_flows.errors import CampaignLockedError, StoreUnavailableError

if TYPE_CHECKING:
    from fireworks import LaunchPad

    from nepal_flows.campaign.read import LoadedCampaign


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


def require_not_queued(loaded: "LoadedCampaign") -> None:
    """Refuse a campaign that workers of a cluster are at: it would be run side by side with them.

    Raises
    ------
    CampaignLockedError
        If jobs of it are in the queue.
    """
    if not uses_server():
        return
    from nepal_flows.cluster.queue_database import plain_database
    from nepal_flows.flows.registration import campaign_key

    try:
        database = plain_database() or located_launchpad(is_needed=False)
    except StoreUnavailableError as error:
        note(f"Whether the campaign is in a queue is not known: {error}")
        return
    if database is None:
        return
    from nepal_flows.cluster.queue import campaign_queue

    if not campaign_queue(database, campaign_key(loaded)).is_empty:
        name = loaded.campaign.name
        raise CampaignLockedError(
            f"The campaign `{name}` is in FireWorks' queue: its workers go on with it. To run it "
            f"here instead, take it out first: nepal stop {name}"
        )


__all__ = ["located_launchpad", "queued_campaign", "require_not_queued"]
