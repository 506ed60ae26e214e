"""GPUs of a job: which it may use, one run on each."""

import pytest

from nepal_flows.engines.gpumd.devices import claimed_gpu, visible_gpus
from nepal_flows.errors import EngineError


@pytest.mark.parametrize(
    ("value", "ids"),
    [("0", ("0",)), (" 2, 3 ", ("2", "3")), ("GPU-aa,GPU-bb", ("GPU-aa", "GPU-bb"))],
)
def test_ids_come_from_the_queue(value, ids):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == ids


def test_without_a_word_of_the_queue_it_is_the_first_gpu():
    assert visible_gpus({}) == ("0",)


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
