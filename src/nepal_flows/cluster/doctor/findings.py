"""What a check comes back with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, eq=False)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    level
        ``ok``; ``note`` for what a person should know; ``problem`` for what must be put right.
    what
        What was found, in one sentence.
    remedy
        What to do about it; empty where there is nothing.
    fix
        Puts it right; None where a person must.
    """

    level: Literal["ok", "note", "problem"]
    what: str
    remedy: str = ""
    fix: Callable[[], object] | None = None


def fixed(finding: Finding) -> Finding:
    """Put right what can be, and return what is to be said then."""
    if finding.fix is None:
        return finding
    finding.fix()
    return Finding("ok", f"{finding.what} Done: {finding.remedy}")


__all__ = ["Finding", "fixed"]
