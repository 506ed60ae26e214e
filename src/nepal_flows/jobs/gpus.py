"""The GPUs of an exploration job, and the self-test of GPUMD before its runs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from nepal_flows.campaign.exploration import GpumdSection
from nepal_flows.engines.exploration import (
    ExplorationTask,
    GpuLease,
    committee_score,
    model_and_active_set,
)
from nepal_flows.engines.gpumd.devices import gpus_of_job
from nepal_flows.engines.gpumd.md import GpumdSetup
from nepal_flows.engines.gpumd.self_test import run_self_test
from nepal_flows.io.nep_txt import model_sha256
from nepal_flows.settings import read_settings


@contextmanager
def leased_gpus(sample: ExplorationTask, section: GpumdSection) -> Iterator[GpuLease]:
    """Yield the GPUs of this job, once GPUMD has graded as this package does.

    Every job tests, not only a campaign's first: workers may stand on different clusters.

    Parameters
    ----------
    sample
        One of the runs; its start is graded.
    section
        Limits of the campaign file.

    Raises
    ------
    EngineError
        If the job has no GPU, or GPUMD does not run or grades otherwise.
    """
    with (
        gpus_of_job() as gpus,
        tempfile.TemporaryDirectory(prefix="nepal-gpus-") as claims,
    ):
        yield GpuLease(_tested(sample, section, gpus[0]), gpus, claims)


def _tested(sample: ExplorationTask, section: GpumdSection, gpu: str) -> GpumdSetup:
    """Return how GPUMD is to be run, as its self-test on a GPU found out."""
    site = read_settings()
    scratch = site.scratch_directory
    setup = GpumdSetup(
        command=site.gpumd_command,
        gpu=gpu,
        scratch=None if scratch is None else str(scratch.expanduser()),
        time_limit_s=section.time_limit_s,
    )
    model, active_set = model_and_active_set(sample.model_text, sample.active_set)
    test = run_self_test(
        sample.structure,
        model,
        active_set,
        setup=setup,
        model_sha256=model_sha256(sample.model_text),
        committee=committee_score(sample),
    )
    return test.setup


__all__ = ["leased_gpus"]
