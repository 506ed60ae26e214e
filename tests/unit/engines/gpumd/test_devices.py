"""GPUs of a job: which it may use, one run on each."""

from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from nepal_flows.engines.gpumd import devices
from nepal_flows.engines.gpumd.devices import claimed_gpu, gpus_of_job, visible_gpus
from nepal_flows.errors import EngineError


@pytest.mark.parametrize(
    ("value", "ids"),
    [("0", ("0",)), (" 2, 3 ", ("2", "3")), ("GPU-aa,GPU-bb", ("GPU-aa", "GPU-bb"))],
)
def test_ids_come_from_the_queue(value, ids):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == ids


def test_gpus_that_the_queue_gave_are_those_of_the_job(tmp_path):
    with gpus_of_job({"CUDA_VISIBLE_DEVICES": "2,3"}, claims=tmp_path) as gpus:
        assert gpus == ("2", "3")
    assert list(tmp_path.iterdir()) == []


def test_without_a_word_of_the_queue_every_job_takes_the_next_free_gpu(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()

    def job():
        return gpus_of_job({}, machine=tmp_path, claims=tmp_path / "claims")

    with job() as first:
        assert first == ("0",)
        with job() as second:
            assert second == ("1",)
        with job() as third:
            assert third == ("1",)
    with job() as alone:
        assert alone == ("0",)


def test_job_waits_for_the_only_gpu_of_a_machine_and_says_what_to_do(tmp_path, monkeypatch, caplog):
    with ExitStack() as first:
        first.enter_context(gpus_of_job({}, machine=tmp_path, claims=tmp_path / "claims"))
        pauses = []

        def sleep(pause):
            pauses.append(pause)
            if len(pauses) == 2:
                first.close()

        monkeypatch.setattr(devices, "time", SimpleNamespace(sleep=sleep))
        with gpus_of_job({}, machine=tmp_path, claims=tmp_path / "claims") as gpus:
            assert gpus == ("0",)
    assert len(pauses) == 2
    assert caplog.text.count("Start no more workers than GPUs") == 1


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles"])
def test_a_job_without_gpu_says_so(value):
    with pytest.raises(EngineError, match="no GPU"):
        visible_gpus({"CUDA_VISIBLE_DEVICES": value})


def test_every_gpu_is_used_by_one_run_at_a_time(tmp_path):
    with claimed_gpu(["0", "1"], tmp_path) as first, claimed_gpu(["0", "1"], tmp_path) as second:
        assert (first, second) == ("0", "1")
        with pytest.raises(EngineError, match="in use"), claimed_gpu(["0", "1"], tmp_path):
            pass
    with claimed_gpu(["0", "1"], tmp_path) as again:
        assert again == "0"
