"""Kill a campaign anywhere, run it again: it ends as if nothing had happened."""

import subprocess
import sys
import time

import numpy as np
import pytest
from resuming import DRIVER, contents, run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, write_campaign) -> tuple[dict, int]:
    """Return what an undisturbed campaign stored, and its number of signs of progress."""
    campaign = write_campaign(tmp_path_factory.mktemp("undisturbed"))
    process = run(campaign)
    assert process.returncode == 0, process.stderr
    return contents(campaign), int(process.stdout.split()[-1])


KILLS = (
    ("label", 2),
    ("label", 4),
    ("train", 60),
    ("train", 171),
    ("active set", 1),
    ("active set", 2),
    ("explore", 2),
    ("explore", 3),
    ("select", 1),
    ("select", 2),
    ("label", 2),
    ("assess", 1),
    ("assess", 2),
    ("train", 30),
    ("explore", 2),
)
"""Where the campaign dies, one run after the other: during a stage, and just before it stores."""


@pytest.mark.slow
def test_kills_at_every_stage_leave_the_campaign_bitwise_as_it_would_have_been(
    undisturbed, tmp_path, write_campaign
):
    expected, _ = undisturbed
    campaign = write_campaign(tmp_path)
    for stage, number in KILLS:
        process = run(campaign, stage, str(number))
        assert process.returncode == -9, process.stderr
        assert process.stdout.strip() == f"killed in {stage}"
    assert run(campaign).returncode == 0
    assert contents(campaign) == expected


def test_labels_of_a_killed_iteration_do_not_change_its_model(
    undisturbed, tmp_path, write_campaign
):
    expected, _ = undisturbed
    campaign = write_campaign(tmp_path)
    n_seed_events = 5
    killed = run(campaign, "label", str(n_seed_events + 2))
    assert killed.stdout.strip() == "killed in label"
    assert run(campaign).returncode == 0
    assert contents(campaign) == expected


@pytest.mark.slow
def test_kills_at_random_moments_lose_and_repeat_nothing(undisturbed, tmp_path, write_campaign):
    expected, _ = undisturbed
    campaign = write_campaign(tmp_path)
    command = [sys.executable, "-W", "ignore", str(DRIVER), str(campaign)]
    rng = np.random.default_rng(7)
    for _ in range(8):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(2.0, 6.0)))
        process.kill()
        process.wait()
    assert run(campaign).returncode == 0
    assert contents(campaign) == expected


def test_documents_of_a_campaign_are_each_stored_once(undisturbed):
    expected, _ = undisturbed
    labels = [document for name, document in expected.items() if name.startswith("label ")]
    assert len(labels) == len({label["structure_key"] for label in labels})
