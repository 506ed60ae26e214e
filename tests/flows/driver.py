"""Run a campaign in a process of its own, and die at a chosen sign of progress.

usage: python driver.py CAMPAIGN [STAGE N]     killed (SIGKILL) at the N-th event of a stage, where
                                               STAGE is a stage's name or `any`; else it runs on
"""

import os
import signal
import sys

from nepal_flows.flows import run_campaign
from nepal_flows.jobs.progress import ProgressEvent


def main() -> None:
    """Run, or die trying."""
    campaign, *deadline = sys.argv[1:]
    stage, n_last = (deadline[0], int(deadline[1])) if deadline else ("any", 0)
    n_events = 0

    def listener(event: ProgressEvent) -> None:
        nonlocal n_events
        n_events += stage in ("any", event.stage)
        if n_last and n_events >= n_last:
            print("killed in", event.stage, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    run_campaign(campaign, listener=listener)
    print("events", n_events, flush=True)


if __name__ == "__main__":
    main()
