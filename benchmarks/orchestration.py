"""Own cost per job: jobs whose work is already on record, against jobflow's own empty jobs.

usage: python benchmarks/orchestration.py [--jobs 300]
"""

import argparse
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from jobflow import Flow, JobConfig, JobStore, job, run_locally
from maggma.stores import MemoryStore

from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import Batch, SelectionDoc

TARGET_MS = 2.0


@job
def empty(number: int) -> Batch:
    """Return at once."""
    return Batch(keys=[str(number)])


@job(config=JobConfig(expose_store=True))
def known(number: int) -> Batch:
    """Look a document up and return its key, as every stage does that has run before."""
    records = Records.current()
    document = records.find(SelectionDoc, f"selection {number}")
    assert document is not None
    return Batch(keys=[document.key])


def seconds_per_job(flow: Flow, store: JobStore, n_jobs: int) -> float:
    """Return the elapsed time of a flow per job, s."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_locally(flow, store=store, log=False, root_dir=folder)
    return (time.perf_counter() - began) / n_jobs


def main() -> None:
    """Measure both and print the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300)
    n_jobs = parser.parse_args().jobs
    bare = seconds_per_job(Flow([empty(i) for i in range(n_jobs)]), JobStore(MemoryStore()), n_jobs)
    with tempfile.TemporaryDirectory() as folder:
        store = embedded_job_store(Path(folder))
        records = Records(store)
        for i in range(n_jobs):
            records.put(
                SelectionDoc(
                    key=f"selection {i}", model_sha256="", n_candidates=0, budget=0, selected=[]
                )
            )
        ours = seconds_per_job(Flow([known(i) for i in range(n_jobs)]), store, n_jobs)
    print(f"jobflow {version('jobflow')}, nepal-flows {version('nepal-flows')}, {n_jobs} jobs")
    print(f"empty job, MemoryStore:                  {1e3 * bare:.2f} ms")
    print(f"a stage on record, the embedded store:   {1e3 * ours:.2f} ms")
    print(f"ours above jobflow's: {1e3 * (ours - bare):.2f} ms (target: at most {TARGET_MS:g} ms)")


if __name__ == "__main__":
    main()
