"""Progress on stderr: bars on a terminal, a line a stage elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nepal_flows.jobs.progress import ProgressEvent

Counter = Callable[[int, int], None]

LOG_INTERVAL_S = 60.0
"""Without a terminal, how often a stage that lasts says how far it is, s."""


@contextmanager
def counter(description: str, *, quiet: bool = False) -> Iterator[Counter]:
    """Yield a function of the number done and the number in all that shows a bar."""
    if quiet or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    with _bars() as bars:
        task = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total or None)


class CampaignProgress:
    """Show the stages of a campaign as they come; call it with every event.

    Parameters
    ----------
    quiet
        Whether to show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bars: Any = None
        self._stage = ""
        self._task: Any = None
        self._note = ""
        self._began = 0.0
        self._logged = 0.0

    def __enter__(self) -> "CampaignProgress":
        if not self._quiet and sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finish()
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, event: "ProgressEvent") -> None:
        """Show one event."""
        if self._quiet:
            return
        if event.stage != self._stage:
            self._finish()
            self._stage, self._began = event.stage, time.monotonic()
            self._logged = self._began
            if self._bars is not None:
                self._task = self._bars.add_task(event.stage, total=None)
        self._note = event.note or self._note
        if self._task is not None:
            self._bars.update(self._task, completed=event.done, total=event.total or None)
            if event.note:
                self._bars.update(self._task, description=f"{event.stage}: {event.note}"[:70])
        elif time.monotonic() - self._logged > LOG_INTERVAL_S:
            self._logged = time.monotonic()
            spent = self._logged - self._began
            line = f"{event.stage:<12}{spent:7.1f} s  {event.done} of {event.total}"
            print(line, file=sys.stderr, flush=True)

    def _finish(self) -> None:
        if not self._stage:
            return
        spent = time.monotonic() - self._began
        line = f"{self._stage:<12}{spent:7.1f} s  {self._note}".rstrip()
        if self._bars is not None:
            self._bars.remove_task(self._task)
            self._bars.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)
        self._stage, self._task, self._note = "", None, ""


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )


__all__ = ["CampaignProgress", "Counter", "counter"]
