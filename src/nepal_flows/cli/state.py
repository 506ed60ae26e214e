"""Whether a campaign is at work: in a process of this machine, or in the queue."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nepal_flows.cli.locate import Located, is_running, uses_server
from nepal_flows.errors import StoreUnavailableError

if TYPE_CHECKING:
    from nepal_flows.cluster.queue import CampaignQueue


@dataclass(frozen=True)
class CampaignRunState:
    """Who works on a campaign.

    Attributes
    ----------
    is_running
        Whether a process of this machine runs it, or a job of it runs or waits for a worker.
    queue
        Its jobs in FireWorks; None where it was never submitted, or FireWorks is not configured.
    queue_error
        Why the queue could not be asked, if so.
    is_queue_known
        Whether this machine can know of a queue: not where documents are on a server, where
        workers may find them, and FireWorks is not configured.
    """

    is_running: bool
    queue: "CampaignQueue | None" = None
    queue_error: StoreUnavailableError | None = None
    is_queue_known: bool = True


def campaign_state(located: Located) -> CampaignRunState:
    """Return who works on a campaign."""
    running_here = is_running(located.directory)
    if not uses_server():
        return CampaignRunState(running_here)
    from nepal_flows.cli.queue_access import located_launchpad
    from nepal_flows.cluster.queue_database import plain_database

    try:
        launchpad = plain_database() or located_launchpad(is_needed=False)
    except StoreUnavailableError as error:  # what is on record can be told all the same
        return CampaignRunState(running_here, queue_error=error)
    if launchpad is None:
        return CampaignRunState(running_here, is_queue_known=running_here)
    from nepal_flows.cluster.queue import campaign_queue

    queue = campaign_queue(launchpad, located.campaign.key)
    if not queue.jobs and not queue.n_completed:
        return CampaignRunState(running_here)
    return CampaignRunState(running_here or queue.is_active, queue)


__all__ = ["CampaignRunState", "campaign_state"]
