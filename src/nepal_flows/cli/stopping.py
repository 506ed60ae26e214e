"""What ends a run on request: Ctrl-C, and the signal that schedulers and `kill` send first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end what runs inside as Ctrl-C does: in order, keeping what is finished."""

    def end(*_: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["Terminated", "ended_by_sigterm"]
