"""Which worker runs which job, under FireWorks and jobflow-remote.

Routing is by job name, in this one place. It is applied anew to every flow the deciding job makes,
and that job does not pass its own worker on (``DECIDING``), so a label made by a loop that runs on
a GPU worker still goes to the DFT queue.
"""

from collections.abc import Mapping

from jobflow import Flow


def routed(flow: Flow, routes: Mapping[str, str]) -> Flow:
    """Return the flow with every job sent to the worker of its name.

    Parameters
    ----------
    flow
        A flow; it is changed in place.
    routes
        Worker by job name (``_fworker`` of FireWorks, ``worker`` of jobflow-remote). A job whose
        name is not listed runs wherever there is room.
    """
    for job, _ in flow.iterflow():  # type: ignore[no-untyped-call]
        worker = routes.get(job.name)
        if worker is not None:
            config = {"manager_config": {"_fworker": worker, "worker": worker}}
            job.update_config(config, dynamic=False)
    return flow


__all__ = ["routed"]
