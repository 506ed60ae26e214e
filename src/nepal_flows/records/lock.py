"""One run of a campaign at a time."""

import fcntl
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from nepal_flows.errors import CampaignLockedError, StoreUnavailableError

LOCK_FILE = "lock"


class CampaignLock:
    """A lock on a campaign's directory, held by one process and freed when it ends or dies.

    Parameters
    ----------
    directory
        The campaign's directory, made where it is missing.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as directory, CampaignLock(directory):
    ...     pass
    """

    def __init__(self, directory: str | Path) -> None:
        self.path = Path(directory) / LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        CampaignLockedError
            If another process holds it.
        StoreUnavailableError
            If the directory cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreUnavailableError(
                f"The lock {self.path} cannot be made: {error}. Make the directory writable."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise CampaignLockedError(_held_by(self.path)) from error
        except OSError as error:
            os.close(descriptor)
            raise StoreUnavailableError(
                f"The file system of {self.path} cannot lock files: {error}. Put the campaign on "
                "a local disk."
            ) from error
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        self._descriptor = descriptor

    def is_held(self) -> bool:
        """Return whether a process holds the lock, without taking it."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def holder(self) -> tuple[str, int] | None:
        """Return host and process id of who holds the lock, None where nobody does."""
        if not self.is_held():
            return None
        try:
            told = json.loads(self.path.read_text())
            return str(told["host"]), int(told["pid"])
        except (OSError, ValueError, KeyError):  # it has just ended, or has not said so yet
            return None

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "CampaignLock":
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()


def _held_by(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError):
        who = "another process"
    return (
        f"The campaign in {path.parent} is being run by {who}. Follow it with `nepal status`, or "
        "end that process and run again: it continues."
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


__all__ = ["CampaignLock"]
