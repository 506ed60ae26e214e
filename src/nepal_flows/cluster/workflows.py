"""Workflows of campaigns: what marks them, and how one is added no more than once."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fireworks import LaunchPad, Workflow

from nepal_flows.errors import CampaignLockedError
from nepal_flows.records import Records
from nepal_flows.records.once import claimed

_LEASE_S = 40.0
_PATIENCE_S = 60.0


def workflow_metadata(campaign_id: str, name: str) -> dict[str, str]:
    """Return what marks the workflows of a campaign, for queries of FireWorks."""
    return {"campaign_id": campaign_id, "campaign": name}


def add_once(
    launchpad: LaunchPad,
    records: Records,
    workflow: Workflow,
    metadata: Mapping[str, Any],
    *,
    again: bool = False,
    while_running: int | None = None,
) -> bool:
    """Add a workflow of a campaign unless one that begins with the same job is there.

    Parameters
    ----------
    launchpad, records
        Where workflows and claims are kept.
    workflow
        What to add.
    metadata
        Of the campaign; see :func:`workflow_metadata`.
    again
        Whether one that is complete does not count: the records say that there is work left.
    while_running
        Firework that adds it, if one does: nothing is added once that was taken out of the queue.

    Returns
    -------
    bool
        Whether it was added.
    """
    workflow.metadata = {**metadata, "first_job": _first_job(workflow)}
    criteria = {
        "metadata.campaign_id": metadata["campaign_id"],
        "metadata.first_job": workflow.metadata["first_job"],
        "state": {"$nin": ["DEFUSED", "ARCHIVED", *(["COMPLETED"] if again else [])]},
    }
    with sole_submission(records, metadata["campaign_id"]):
        if launchpad.workflows.count_documents(criteria):
            return False
        if while_running is not None and not _runs(launchpad, while_running):
            return False
        launchpad.add_wf(workflow)
    return True


@contextmanager
def sole_submission(records: Records, campaign_id: str) -> Iterator[None]:
    """Hold a campaign against everybody else who would add to its workflows.

    Raises
    ------
    CampaignLockedError
        If somebody else holds it for a minute.
    """
    began = time.monotonic()
    while True:
        with claimed(records, "submission", [campaign_id], lease_s=_LEASE_S) as granted:
            if granted:
                yield
                return
        if time.monotonic() - began > _PATIENCE_S:
            raise CampaignLockedError(
                f"Somebody else is adding jobs of the campaign {campaign_id}. Try again in a "
                "minute."
            )
        time.sleep(0.2)


def _runs(launchpad: LaunchPad, fw_id: int) -> bool:
    return bool(launchpad.fireworks.count_documents({"fw_id": fw_id, "state": "RUNNING"}))


def _first_job(workflow: Workflow) -> str:
    """Return the uuid of the job that a workflow begins with."""
    roots = (workflow.id_fw[fw_id].tasks[0]["job"].uuid for fw_id in workflow.root_fw_ids)
    return str(min(roots))


__all__ = ["add_once", "sole_submission", "workflow_metadata"]
