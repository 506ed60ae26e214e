"""A disk that fills loses nothing: the campaign stops with the reason, and goes on from there.

The disks are tmpfs of a few megabytes, which take root to mount.
"""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import pytest

from cluster_site import Site
from mongo_servers import NoServerError, running_server
from nepal_flows.cluster.submit import resume_campaign
from nepal_flows.flows import run_campaign
from nepal_flows.schemas import IterationDoc, LabelDoc, TrainingDoc
from nepal_flows.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.cluster, pytest.mark.timeout(1800)]

KINDS = (LabelDoc, TrainingDoc, IterationDoc)
FULL_FOR_S = 30.0


@contextmanager
def small_disk(folder, *, megabytes):
    """Let a folder be a disk of its own; skip where that is not allowed."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk):
    """Take all the space there is on a disk, though others write too."""
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(b"x" * 4096):
            pass
    assert shutil.disk_usage(disk).free < 10_000


def clear(disk):
    (disk / "filler").unlink()


def keys(records):
    return {kind.kind: sorted(doc.key for doc in records.query(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def undisturbed(write_campaign, tmp_path_factory):
    run = run_campaign(write_campaign(tmp_path_factory.mktemp("undisturbed")))
    return keys(run.records), run.campaign.final_model_key


def held_up(site, *, until_s=600.0):
    """Let workers work until nothing goes on; return what `nepal doctor` says then."""
    with site.workers(["cpu", "dft"]), pytest.raises(AssertionError, match="does not go on"):
        site.wait(timeout_s=until_s)
    assert site.queue().is_blocked
    return site.nepal("doctor", code=6).stdout


def resume(site):
    (campaign,) = site.campaigns()
    settings = Settings(label_bundle=2, explore_bundle=1)
    assert resume_campaign(site.launchpad, site.records, campaign.key, settings=settings).is_new


def test_full_disks_of_workers_stop_a_campaign_and_blame_no_structure(
    site, write_campaign, undisturbed
):
    site.submit(write_campaign(site.folder / "campaign"))
    with (
        small_disk(site.folder / "launches-cpu0", megabytes=8) as cpu,
        small_disk(site.folder / "launches-dft1", megabytes=8) as dft,
    ):
        fill(cpu)
        assert "No space left on device" in held_up(site)
        clear(cpu)
        fill(dft)
        resume(site)
        assert "No space left on device" in held_up(site)
        assert site.records.count(LabelDoc) == 0
        clear(dft)
        resume(site)
        with site.workers(["cpu", "dft"]):
            ended = site.wait(timeout_s=900.0)
    assert (keys(site.records), ended.final_model_key) == undisturbed


def test_full_disk_of_the_server_stops_a_campaign_that_goes_on_once_there_is_space(
    write_campaign, undisturbed, tmp_path
):
    with small_disk(tmp_path / "server", megabytes=64) as disk:
        try:
            with running_server(disk) as server:
                if not server.command:
                    pytest.skip("the server's disk is not ours to fill")
                site = Site(tmp_path, server, "nepal_test")
                site.submit(write_campaign(site.folder / "campaign"))
                with site.workers(["cpu", "dft"]):
                    while not site.records.count(LabelDoc):
                        assert not site.queue().is_blocked
                    fill(disk)
                    time.sleep(FULL_FOR_S)
                clear(disk)
                server.stop(kill=True)
                server.start()
                site.nepal("doctor", "--fix", code=None)
                if site.queue().is_blocked:
                    resume(site)
                with site.workers(["cpu", "dft"]):
                    ended = site.wait(timeout_s=900.0)
                assert (keys(site.records), ended.final_model_key) == undisturbed
                site.close()
        except NoServerError as error:
            pytest.skip(str(error))
