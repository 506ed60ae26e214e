"""Run a campaign in a process of its own, and die at a chosen sign of progress.

usage: python driver.py CAMPAIGN [N]     killed (SIGKILL) at the N-th event; without N it runs on
"""

import os
import signal
import sys

from nepal_flows.flows import run_campaign
from nepal_flows.jobs.progress import ProgressEvent


def main() -> None:
    """Run, or die trying."""
    deadline = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    n_events = 0

    def listener(event: ProgressEvent) -> None:
        nonlocal n_events
        n_events += 1
        if deadline and n_events >= deadline:
            print(event.stage, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    run_campaign(sys.argv[1], listener=listener)
    print("events", n_events, flush=True)


if __name__ == "__main__":
    main()
