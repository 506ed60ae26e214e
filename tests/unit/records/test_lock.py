"""One process at a time runs a campaign, and a dead one holds nothing."""

import os
import subprocess
import sys

import pytest

from nepal_flows.errors import CampaignLockedError, StoreUnavailableError
from nepal_flows.records import CampaignLock

HOLD = """
import sys, time
from nepal_flows.records.lock import CampaignLock
lock = CampaignLock(sys.argv[1]); lock.acquire(); print("held", flush=True); time.sleep(60)
"""


def test_second_run_is_refused_and_told_who_holds_it(tmp_path):
    with (
        CampaignLock(tmp_path),
        pytest.raises(CampaignLockedError, match=f"process {os.getpid()} on"),
    ):
        CampaignLock(tmp_path).acquire()


def test_lock_can_be_taken_again_after_release(tmp_path):
    for _ in range(2):
        with CampaignLock(tmp_path):
            pass


def test_killed_process_holds_no_lock(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CampaignLockedError, match=f"process {holder.pid} on"):
            CampaignLock(tmp_path).acquire()
    finally:
        holder.kill()
        holder.communicate()
    with CampaignLock(tmp_path):
        pass


def test_unwritable_directory_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailableError, match="writable"):
        CampaignLock(tmp_path / "file").acquire()
