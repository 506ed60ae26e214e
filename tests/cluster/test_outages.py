"""The database dies, workers die: the campaign ends as it would have, and nothing is done twice.

Workers are started again when they end, as a queue does, and `nepal doctor --fix` is asked now and
then. mongo-java-server loses up to a second of writes when it is killed, more than MongoDB would.
"""

import contextlib
import os
import random
import signal
import time

import pytest
from pymongo.errors import PyMongoError

from cluster_site import end_group
from nepal_flows.cluster.doctor import campaign_findings, fixed, queue_findings
from nepal_flows.errors import NepalError
from nepal_flows.flows import run_campaign
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc, SelectionDoc, TrainingDoc
from nepal_flows.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.cluster, pytest.mark.timeout(1800)]

SETTINGS = Settings(label_bundle=2, explore_bundle=1)
KINDS = (LabelDoc, TrainingDoc, ExplorationDoc, SelectionDoc, IterationDoc)


def keys(records):
    return {kind.kind: sorted(doc.key for doc in records.query(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def undisturbed(write_campaign, tmp_path_factory):
    run = run_campaign(write_campaign(tmp_path_factory.mktemp("undisturbed")))
    return keys(run.records), run.campaign


def brought_to_its_end(site, disturb, *, timeout_s=900.0):
    """Let workers work, disturbed from time to time, until nothing of the campaign is queued."""
    workers, began, n_steps = {}, time.monotonic(), 0
    try:
        while time.monotonic() - began < timeout_s:
            for kind in ("cpu", "dft"):
                if kind not in workers or workers[kind].poll() is not None:
                    workers[kind] = site.start_worker(kind)
            time.sleep(1.0)
            n_steps += 1
            disturb(n_steps, workers)
            with contextlib.suppress(PyMongoError, NepalError):
                if n_steps % 5 == 0:
                    repair(site)
                if not site.queue().jobs and site.campaigns()[0].end_state is not None:
                    return site.wait()
        raise AssertionError(f"It came to no end.\n{site.queue()}\n{site.logs()}")
    finally:
        for worker in workers.values():
            end_group(worker)


def repair(site):
    for finding in queue_findings(site.launchpad, lambda: None, lost_after_s=60.0):
        fixed(finding)
    for finding in campaign_findings(site.launchpad, site.records, settings=SETTINGS):
        fixed(finding)


def test_database_that_is_killed_and_started_again_loses_no_campaign(
    own_site, write_campaign, undisturbed
):
    site = own_site()
    site.submit(write_campaign(site.folder / "campaign"))

    def disturb(n_steps, workers):
        if n_steps in (15, 35, 60):
            site.server.stop(kill=True)
            time.sleep(3.0)
            site.server.start()

    ended = brought_to_its_end(site, disturb)
    expected, campaign = undisturbed
    assert keys(site.records) == expected
    assert ended.end_state == campaign.end_state
    assert ended.final_model_key == campaign.final_model_key


def test_workers_that_are_killed_at_random_repeat_nothing(own_site, write_campaign, undisturbed):
    site = own_site()
    site.submit(write_campaign(site.folder / "campaign"))
    chance = random.Random(7)

    def disturb(n_steps, workers):
        if n_steps % 8 == 0 and n_steps < 100:
            os.killpg(workers[chance.choice(["cpu", "dft"])].pid, signal.SIGKILL)

    ended = brought_to_its_end(site, disturb)
    expected, campaign = undisturbed
    assert keys(site.records) == expected
    assert ended.final_model_key == campaign.final_model_key


def test_two_campaigns_share_store_and_workers_without_touching_each_other(
    site, write_campaign, undisturbed
):
    first = site.submit(write_campaign(site.folder / "first")).campaign
    other = write_campaign(site.folder / "second", name="other", seed=5)
    second = site.submit(other).campaign
    with site.workers(["cpu", "dft", "cpu"]):
        while site.queue_of(first.key).jobs or site.queue_of(second.key).jobs:
            assert not site.queue_of(first.key).is_blocked
            assert not site.queue_of(second.key).is_blocked
            time.sleep(1.0)
    alone = run_campaign(other)
    ends = {c.name: c for c in site.campaigns()}
    assert ends["small"].final_model_key == undisturbed[1].final_model_key
    assert ends["other"].final_model_key == alone.campaign.final_model_key
    models = {doc.campaign_id for doc in site.records.query(TrainingDoc)}
    assert models == {first.key, second.key}
