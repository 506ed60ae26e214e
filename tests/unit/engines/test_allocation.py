"""Cores that a queue has given are paid for, busy or not."""

import pytest

from nepal_flows.engines.allocation import billed_seconds, held_cores


@pytest.mark.parametrize(
    ("environment", "cores"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_CPUS_PER_NODE": "128"}, 128),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_CPUS_PER_NODE": "64(x2),32"}, 160),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_CPUS_PER_NODE": "many"}, None),
        ({"SLURM_JOB_CPUS_PER_NODE": "128"}, None),
        ({"PBS_JOBID": "1.host", "PBS_NP": "48"}, 48),
        ({"PBS_JOBID": "1.host", "NCPUS": "4"}, 4),
        ({"LSB_JOBID": "3", "LSB_DJOB_NUMPROC": "16"}, 16),
        ({"JOB_ID": "3", "NSLOTS": "8"}, 8),
        ({"NCPUS": "4"}, None),
    ],
)
def test_cores_are_read_from_what_the_queue_sets(environment, cores):
    assert held_cores(environment) == cores


def test_outside_a_queue_processor_time_counts(monkeypatch):
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert billed_seconds(100.0, 30.0) == 30.0


def test_in_a_queue_all_cores_held_count_for_the_share_of_the_step(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_JOB_CPUS_PER_NODE", "16")
    assert billed_seconds(100.0, 30.0) == 1600.0
    assert billed_seconds(100.0, 30.0, share=0.25) == 400.0
    assert billed_seconds(100.0, 3000.0) == 3000.0
