"""How a running stage tells a person where it stands, without knowing who listens.

A stage calls :func:`report_progress`; the command line listens within :func:`progress_listener`.
Under a queue nobody listens and the calls cost nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class ProgressEvent:
    """One sign of life.

    Attributes
    ----------
    stage
        Lower-case phrase, such as ``train``.
    done, total
        Steps done and steps in all; ``total`` is 0 where it is not known.
    note
        One short line for the user, or empty.
    """

    stage: str
    done: int
    total: int
    note: str = ""


Listener = Callable[[ProgressEvent], None]

_listeners: list[Listener] = []


def report_progress(stage: str, done: int, total: int, note: str = "") -> None:
    """Hand one event to whoever listens."""
    for listener in _listeners:
        listener(ProgressEvent(stage, done, total, note))


@contextmanager
def progress_listener(listener: Listener) -> Iterator[None]:
    """Call ``listener`` with every event while the context is open."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


__all__ = ["Listener", "ProgressEvent", "progress_listener", "report_progress"]
