"""Run a campaign in a process of its own, and die at a chosen sign of progress.

usage: python driver.py CAMPAIGN [N]     killed (SIGKILL) at the N-th event; without N it runs on
       python driver.py CAMPAIGN select  killed when the first label of a selection is made
"""

import os
import signal
import sys

from nepal_flows.flows import run_campaign
from nepal_flows.jobs.progress import ProgressEvent


def main() -> None:
    """Run, or die trying."""
    asked = sys.argv[2] if len(sys.argv) > 2 else "0"
    deadline = int(asked) if asked.isdigit() else 0
    n_events = 0
    has_selected = False

    def listener(event: ProgressEvent) -> None:
        nonlocal n_events, has_selected
        n_events += 1
        has_selected |= event.stage == "select"
        is_labelled = has_selected and event.stage == "label" and event.done > 0
        if (deadline and n_events >= deadline) or (asked == "select" and is_labelled):
            print(event.stage, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    run_campaign(sys.argv[1], listener=listener)
    print("events", n_events, flush=True)


if __name__ == "__main__":
    main()
