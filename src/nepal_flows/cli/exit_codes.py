"""Exit codes: what a script may rely on."""

import errno
from enum import IntEnum

from nepal_flows.errors import (
    EngineError,
    NepalError,
    RecordError,
    TrainingError,
)


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    """It did what was asked."""
    BUG = 1
    """An error nobody foresaw."""
    BAD_INPUT = 2
    """Wrong usage, file, option or value."""
    ENGINE_FAILED = 3
    """A label, a training or an exploration failed."""
    STORE_FAILED = 4
    """The store or the disk cannot be used, or another process holds the campaign."""
    NOT_CONVERGED = 5
    """The campaign ended without its certificate: budget spent, stalled, failed or stopped."""
    PROBLEMS = 6
    """`nepal doctor` found something that is still wrong."""
    INTERRUPTED = 130
    """Ctrl-C."""
    TERMINATED = 143
    """SIGTERM, of a run."""


_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def is_of_server(error: BaseException) -> bool:
    """Return whether the driver of a database server raised an error that nobody translated."""
    return any(kind.__module__ == "pymongo.errors" for kind in type(error).__mro__)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of an error."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    if isinstance(error, RecordError) or is_of_server(error):
        return ExitCode.STORE_FAILED
    if isinstance(error, EngineError | TrainingError):
        return ExitCode.ENGINE_FAILED
    if isinstance(error, NepalError):
        return ExitCode.BAD_INPUT
    if isinstance(error, OSError):
        return ExitCode.STORE_FAILED if error.errno in _DISK_ERRORS else ExitCode.BAD_INPUT
    return ExitCode.BUG


__all__ = ["ExitCode", "exit_code_of", "is_of_server"]
