"""The Firetask that runs a campaign's job and places what comes after it.

It runs a job as jobflow's own does, and adds what a campaign needs: what the job appends is run by
this Firetask again; a job that is run anew appends nothing twice; a long campaign goes on in a new
workflow; a worker that is told to end gives its job back to the queue.

The import path of the class is stored in the database: moving it is a breaking change.
"""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from fireworks import FWAction, LaunchPad, Workflow, explicit_serialize
from jobflow import SETTINGS
from jobflow.managers.fireworks import JobFiretask

from nepal_flows import __version__
from nepal_flows.cluster.workflows import add_once
from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.engines.worker import ONE_THREAD
from nepal_flows.errors import SettingsError
from nepal_flows.records import Records
from nepal_flows.records.owner import this_process
from nepal_flows.settings import read_settings

MOST_RETURNS = 3
"""How often a job goes back to the queue because its worker was told to end."""


@explicit_serialize
class CampaignFiretask(JobFiretask):
    """Run a job of a campaign.

    ``job`` and ``store`` are jobflow's; ``deciding`` is the name of the jobs that say how a
    campaign goes on, which may be in a new workflow; ``version`` is of the package that made it.
    """

    required_params = ("job", "store", "deciding")  # type: ignore[assignment]

    @classmethod
    def from_dict(cls, m_dict: dict[str, Any]) -> "CampaignFiretask":
        """Return the task; compiled kernels have their folder before the job's code is imported.

        Raises
        ------
        SettingsError
            If a newer package made the job: this one might misread it.
        """
        made_by = m_dict.get("version", __version__)
        if _release(made_by) > _release(__version__):
            raise SettingsError(
                f"The job was made by nepal_flows {made_by}, this worker has {__version__}. "
                "Install one version everywhere, then: lpad rerun_fws"
            )
        prepare_worker()
        task: CampaignFiretask = super().from_dict(m_dict)
        return task

    def run_task(self, fw_spec: dict[str, Any]) -> FWAction:
        """Run the job, and return what is to be appended that is not there."""
        worker = this_worker()
        _sign(self.launchpad, self.fw_id, worker)
        with _given_back_when_ended(self.launchpad, self.fw_id):
            action: FWAction = super().run_task(fw_spec)  # type: ignore[no-untyped-call]
        action.stored_data["nepal_worker"] = worker
        action.detours = [w for w in action.detours if self._is_to_append(w)]
        return action

    def _is_to_append(self, workflow: Workflow) -> bool:
        if _are_children(self.launchpad, self.fw_id, workflow):
            return False
        adopt(workflow, deciding=self["deciding"])
        if self["job"].name != self["deciding"] or not self._is_long():
            return True
        current = self.launchpad.workflows.find_one({"nodes": self.fw_id}, {"metadata": 1})
        records = Records(self.get("store") or SETTINGS.JOB_STORE)
        add_once(self.launchpad, records, workflow, current["metadata"], while_running=self.fw_id)
        return False

    def _is_long(self) -> bool:
        """Return whether this workflow has had its share of iterations."""
        nodes = self.launchpad.workflows.find_one({"nodes": self.fw_id}, {"nodes": 1})["nodes"]
        criteria = {"fw_id": {"$in": nodes}, "name": self["deciding"]}
        n_decisions = self.launchpad.fireworks.count_documents(criteria)
        return int(n_decisions) >= read_settings().iterations_per_workflow


def adopt(workflow: Workflow, *, deciding: str) -> Workflow:
    """Let the jobs of a workflow be run by our Firetask; the workflow is changed in place.

    Parameters
    ----------
    workflow
        As jobflow builds it.
    deciding
        Name of the jobs that say how a campaign goes on.
    """
    for firework in workflow.fws:
        firework.tasks = [_adopted(task, deciding) for task in firework.tasks]
    return workflow


def prepare_worker() -> None:
    """Give compiled kernels their folder, and programs that are started one thread each."""
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    use_kernel_cache(read_settings().numba_cache_directory)


def _adopted(task: Any, deciding: str) -> Any:
    if type(task) is not JobFiretask:
        return task
    return CampaignFiretask(
        job=task["job"], store=task["store"], deciding=deciding, version=__version__
    )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def this_worker() -> dict[str, str | None]:
    """Return who runs jobs here: the process, its package, and the queue's job that holds it."""
    return {
        "version": __version__,
        "process": this_process(),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
        "slurm_cluster": os.environ.get("SLURM_CLUSTER_NAME"),
    }


def _sign(launchpad: LaunchPad, fw_id: int, worker: Mapping[str, str | None]) -> None:
    """Write who runs a job into its launch; FireWorks takes it out again when the job ends."""
    running = {"fw_id": fw_id, "state": "RUNNING"}
    launch = launchpad.launches.find_one(running, {"launch_id": 1}, sort=[("launch_id", -1)])
    if launch is not None:
        launchpad.launches.update_one(
            {"launch_id": launch["launch_id"]}, {"$set": {"nepal_worker": dict(worker)}}
        )


def _are_children(launchpad: LaunchPad, fw_id: int, workflow: Workflow) -> bool:
    """Return whether the first jobs of a workflow are children already: the job is run anew."""
    links = launchpad.workflows.find_one({"nodes": fw_id}, {"links": 1})["links"]
    rows = launchpad.fireworks.find(
        {"fw_id": {"$in": links.get(str(fw_id), [])}}, {"spec._tasks": 1}
    )
    known = {_place(row["spec"]["_tasks"]) for row in rows}
    return all(_place(workflow.id_fw[root].tasks) in known for root in workflow.root_fw_ids)


def _place(tasks: Sequence[Mapping[str, Any]]) -> tuple[str, int] | None:
    """Return uuid and index of a task's job."""
    job = tasks[0].get("job")
    if job is None:
        return None
    return (job["uuid"], job["index"]) if isinstance(job, Mapping) else (job.uuid, job.index)


@contextmanager
def _given_back_when_ended(launchpad: LaunchPad, fw_id: int) -> Iterator[None]:
    """Give the job back to the queue if SIGTERM ends the worker: walltime, preemption, `scancel`.

    What the job had stored is kept, so that the next worker goes on from there. A job that comes
    back too often is left to `nepal doctor`: it does not fit into its time.
    """

    def end(*_: object) -> NoReturn:
        row = launchpad.fireworks.find_one({"fw_id": fw_id}, {"archived_launches": 1})
        if row and len(row.get("archived_launches", [])) < MOST_RETURNS:
            launchpad.rerun_fw(fw_id)
        os._exit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["CampaignFiretask", "adopt", "prepare_worker", "this_worker"]
