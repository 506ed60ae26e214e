"""A whole campaign through SLURM under random kills ends bitwise as one that nobody disturbed.

Of what a campaign may meet everything happens at random moments: processes die at once, SLURM's
jobs are cancelled, the database dies in mid-write and comes back, scratch vanishes. What a group
does about it is done too: `qlaunch` is started again by cron, `nepal doctor --fix` and `nepal
resume` by a person.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from cluster_site import end_group
from nepal_flows.campaign.read import load_campaign
from nepal_flows.cluster.doctor import campaign_findings, fixed
from nepal_flows.cluster.submit import add_remaining, resume_campaign
from nepal_flows.errors import NepalError
from nepal_flows.flows import run_campaign
from nepal_flows.flows.registration import register_campaign
from nepal_flows.jobs.routing import ANY_OTHER, LABEL_BUNDLE
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)
from nepal_flows.settings import Settings
from slurm_site import PARTITIONS, SLURM_ANSWERS, process_id

pytestmark = [
    pytest.mark.integration,
    pytest.mark.cluster,
    pytest.mark.slurm,
    pytest.mark.timeout(3600),
]

KINDS = (
    LabelDoc,
    TrainingDoc,
    ActiveSetDoc,
    ExplorationDoc,
    SelectionDoc,
    IterationDoc,
    CampaignDoc,
)
PASSING = {"created_at", "cost", "costs", "label_costs", "core_hours_total", "attempts", "machine"}
"""Fields that tell when, where and how fast, not what."""

ROUTES = {ANY_OTHER: "cpu", LABEL_BUNDLE: "dft", "explore": "gpu"}
SETTINGS = Settings(label_bundle=2, explore_bundle=1)
STEP_S = 1.0
PATIENCE_S = 3.0


def contents(records):
    """Return every document by kind and key, without what may differ."""
    return {
        f"{kind.kind} {document.key}": document.model_dump(mode="json", exclude=PASSING)
        for kind in KINDS
        for document in records.query(kind)
    }


class Chaos:
    """What happens to a campaign, drawn with a seed; and what people do about it."""

    def __init__(self, site, slurm, *, seed):
        self.site, self.slurm, self.random = site, slurm, random.Random(seed)
        self.happened = Counter()
        self.launchers = {}
        self.to_come = 8 * [self.kill_worker] + 8 * [self.cancel_job]
        self.to_come += 3 * [self.kill_database] + 3 * [self.lose_scratch]
        self.random.shuffle(self.to_come)

    def strike(self):
        """Let the next thing happen that finds something to strike."""
        for fault in dict.fromkeys(self.to_come):
            if fault():
                self.to_come.remove(fault)
                self.happened[fault.__name__] += 1
                return

    def kill_worker(self):
        """Kill one that is at work; jobs here take a second or two, so one is waited for."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_S:
            running = list(self.site.database.fireworks.find({"state": "RUNNING"}, {"fw_id": 1}))
            if running:
                fw_id = self.random.choice(running)["fw_id"]
                with contextlib.suppress(AssertionError, KeyError, ProcessLookupError):
                    os.kill(process_id(self.site, fw_id), signal.SIGKILL)
                    return True
            time.sleep(0.05)
        return False

    def cancel_job(self):
        jobs = sorted(self.slurm.jobs())
        if not jobs:
            return False
        with contextlib.suppress(subprocess.CalledProcessError):  # it has just ended
            self.slurm.command("scancel", self.random.choice(jobs))
            return True
        return False

    def kill_database(self):
        self.site.server.stop(kill=True)
        time.sleep(3.0)
        self.site.server.start()
        return True

    def lose_scratch(self):
        """Remove what jobs that are done left in their folders."""
        done = self.site.database.launches.find({"state": "COMPLETED"}, {"launch_dir": 1})
        folders = [Path(launch["launch_dir"]) for launch in done]
        there = [folder for folder in folders if folder.is_dir()]
        for folder in there:
            shutil.rmtree(folder, ignore_errors=True)
        return bool(there)

    def keep_going(self):
        """Start `qlaunch` where it has ended, as cron would."""
        for kind in PARTITIONS:
            if kind not in self.launchers or self.launchers[kind].poll() is not None:
                self.launchers[kind] = self.site.start_queue_launcher(kind)

    def help(self, key):
        """Do what the documentation says to a campaign that does not go on."""
        self.slurm.repair(self.site)
        found = campaign_findings(self.site.launchpad, self.site.records, settings=SETTINGS)
        for finding in found:
            fixed(finding)
            self.happened["forgotten"] += 1
        if self.site.queue().is_blocked:
            resume_campaign(self.site.launchpad, self.site.records, key, settings=SETTINGS)
            self.happened["resume"] += 1

    def end(self):
        for launcher in self.launchers.values():
            end_group(launcher)


def brought_to_its_end(chaos, key, *, timeout_s=3000.0):
    site, began, n_steps = chaos.site, time.monotonic(), 0
    while time.monotonic() - began < timeout_s:
        time.sleep(STEP_S)
        n_steps += 1
        with contextlib.suppress(PyMongoError, NepalError):
            chaos.keep_going()
            if n_steps % 4 == 0:
                chaos.strike()
            if n_steps % 11 == 0:
                chaos.help(key)
            if not site.queue().jobs and site.campaigns()[0].end_state is not None:
                return
    raise AssertionError(
        f"It came to no end: {chaos.happened}\n{site.queue()}\n{chaos.slurm.jobs()}\n{site.logs()}"
    )


def test_campaign_under_random_kills_ends_bitwise_as_an_undisturbed_one(
    own_site, slurm, write_campaign, tmp_path
):
    undisturbed = run_campaign(write_campaign(tmp_path / "undisturbed"))
    site = own_site(*SLURM_ANSWERS)
    site.settings |= slurm.environment
    loaded = load_campaign(write_campaign(site.folder / "campaign"))
    site.launchpad.reset("", require_password=False)
    document = register_campaign(site.records, loaded)
    assert add_remaining(
        site.launchpad, site.records, loaded.campaign, document, settings=SETTINGS, routes=ROUTES
    )
    chaos = Chaos(site, slurm, seed=int(os.environ.get("NEPAL_TEST_SEED", "5")))
    try:
        brought_to_its_end(chaos, document.key)
    finally:
        chaos.end()
    print(f"\n{dict(chaos.happened)}; {site.database.launches.count_documents({})} launches")
    assert set(chaos.happened) >= {"kill_worker", "cancel_job", "kill_database", "lose_scratch"}
    assert contents(site.records) == contents(undisturbed.records)
