"""What ends a run on request: Ctrl-C, and the signal that schedulers and `kill` send first."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


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


__all__ = ["Terminated", "ended_by_sigterm"]
