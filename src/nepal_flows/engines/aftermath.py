"""After something was killed from outside: what ends this job, too, may be a moment behind.

A queue that ends a job signals its processes one after the other. Whoever sees a program die of
that first must not conclude that the program failed: its verdict would be stored, and stay.
"""

import time

KILLING = frozenset({1, 2, 9, 10, 12, 15, 24})
"""Signals that are sent from outside: HUP INT KILL USR1 USR2 TERM XCPU."""

AFTERMATH_S = 2.0
"""Time to wait for the own end, s."""


def signal_in(code: int | None) -> int:
    """Return the signal that an exit code tells of (-15, or a shell's 143), 0 where of none.

    Examples
    --------
    >>> [signal_in(code) for code in (-9, 143, 1, None)]
    [9, 15, 0, 0]
    """
    if code is None:
        return 0
    return -code if code < 0 else code - 128 if 128 < code < 192 else 0


def wait_if_killed(code: int | None) -> None:
    """Wait a moment if an exit code tells of a signal from outside."""
    if signal_in(code) in KILLING:
        time.sleep(AFTERMATH_S)


__all__ = ["AFTERMATH_S", "KILLING", "signal_in", "wait_if_killed"]
