"""Which worker runs which job, under FireWorks and jobflow-remote.

Routing is by job name, in this one place. It is applied anew to every flow the deciding job makes,
and that job does not pass its own worker on (``DECIDING``), so a label made by a loop that runs on
a GPU worker still goes to the DFT queue.
"""

from collections.abc import Mapping, Sequence

from jobflow import Flow

from nepal_flows.campaign import Campaign

ANY_OTHER = "*"
"""Stands in routes for every job that they do not name."""

LABEL_BUNDLE = "label bundle"
"""Name of the jobs that share a selection's labels."""

MOST_BUNDLES = 16
"""Largest number of jobs that share one stage, so that an iteration stays at some 50 jobs."""


def worker_routes(campaign: Campaign, *, gpu: str, dft: str, cpu: str) -> dict[str, str]:
    """Return the worker of every job of a campaign, by job name.

    Labels go to ``dft``; exploration by GPUMD and training by ``nep`` go to ``gpu``; everything
    else, which is short, goes to ``cpu``.

    Parameters
    ----------
    campaign
        Its sections say which engines run.
    gpu, dft, cpu
        What the site calls the worker of each kind.
    """
    engine: str = campaign.exploration.engine
    trainer: str = campaign.training.trainer
    return {
        ANY_OTHER: cpu,
        LABEL_BUNDLE: dft,
        "explore": gpu if engine == "gpumd" else cpu,
        "train": gpu if trainer == "nep" else cpu,
    }


def routed(flow: Flow, routes: Mapping[str, str]) -> Flow:
    """Return the flow with every job sent to the worker of its name.

    Parameters
    ----------
    flow
        A flow; it is changed in place.
    routes
        Worker by job name (``_fworker`` of FireWorks, ``worker`` of jobflow-remote). A job whose
        name is not listed goes to the worker of ``*``, and without that wherever there is room.
    """
    for job, _ in flow.iterflow():  # type: ignore[no-untyped-call]
        worker = routes.get(job.name, routes.get(ANY_OTHER))
        if worker is not None:
            config = {"manager_config": {"_fworker": worker, "worker": worker}}
            job.update_config(config, dynamic=False)
    return flow


def bundles(members: Sequence[int], size: int | None) -> list[list[int]]:
    """Return what jobs share, in order: ``size`` members a job, more where the jobs were too many.

    Parameters
    ----------
    members
        What is to be done.
    size
        Members per job; None for all in one job.
    """
    if not members:
        return []
    fewest = -(-len(members) // MOST_BUNDLES)
    step = len(members) if size is None else max(size, fewest)
    return [list(members[start : start + step]) for start in range(0, len(members), step)]


__all__ = ["ANY_OTHER", "LABEL_BUNDLE", "MOST_BUNDLES", "bundles", "routed", "worker_routes"]
