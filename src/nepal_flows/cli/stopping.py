"""What ends a run on request: Ctrl-C, and the signal that schedulers and `kill` send first."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from nepal_flows.errors import CampaignLockedError
from nepal_flows.records import CampaignLock

_PATIENCE_S = 60.0


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does: in order, keeping what is finished.

    Where it meets compiled code or one of its callbacks, what the handler raises may come out as an
    error of theirs: after the signal every error is taken for the end that was asked for.
    """
    has_arrived = False

    def end(*_: object) -> NoReturn:
        nonlocal has_arrived
        has_arrived = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except Exception as error:
        if has_arrived:
            raise Terminated from error
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def end_run(directory: Path) -> bool:
    """End the run of the campaign in a folder as `kill` does; return whether there was one.

    Raises
    ------
    CampaignLockedError
        If it runs on another host, or does not end within a minute.
    """
    lock = CampaignLock(directory)
    holder = lock.holder()
    if holder is None:
        return False
    host, pid = holder
    if host != socket.gethostname():
        raise CampaignLockedError(
            f"The campaign in {directory} is being run by process {pid} on {host}. End it there: "
            f"nepal stop {directory}, or kill {pid}."
        )
    os.kill(pid, signal.SIGTERM)
    began = time.monotonic()
    while lock.is_held():
        if time.monotonic() - began > _PATIENCE_S:
            raise CampaignLockedError(
                f"The process {pid} that runs the campaign in {directory} was asked to end and has "
                f"not within a minute. What has finished is kept in any case: kill -9 {pid}."
            )
        time.sleep(0.1)
    return True


__all__ = ["Terminated", "end_run", "ended_by_sigterm"]
