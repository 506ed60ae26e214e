"""Where labels are made: a directory for every try, and what interrupted tries left is removed.

A try that is under way holds a file with the name of its process. A directory whose process is
gone was interrupted: nothing in it is of use, and its wavefunctions fill the disk.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nepal_flows.errors import StoreUnavailableError
from nepal_flows.records.owner import is_known_dead, this_process

_UNDER_WAY = ".under-way"


@contextmanager
def base_directory(scratch: str | Path | None) -> Iterator[str]:
    """Make the directory to run in; one that was not asked for is removed at the end."""
    if scratch is None:
        with tempfile.TemporaryDirectory(prefix="nepal-labels-") as directory:
            yield directory
        return
    base = Path(scratch).absolute()
    base.mkdir(parents=True, exist_ok=True)
    remove_interrupted(base)
    yield str(base)


def remove_interrupted(base: Path) -> None:
    """Remove the directories of tries whose process is known to be gone."""
    for mark in base.glob(f"label-*/{_UNDER_WAY}"):
        try:
            owner = mark.read_text(encoding="utf-8")
        except OSError:  # finished or removed meanwhile
            continue
        if is_known_dead(owner):
            shutil.rmtree(mark.parent, ignore_errors=True)


@contextmanager
def attempt_directory(base: str | Path, name: str) -> Iterator[Path]:
    """Make the directory of one try.

    It is removed when the block ends, and stays for inspection when the block raises.

    Raises
    ------
    StoreUnavailableError
        If it cannot be made.
    """
    try:
        directory = Path(tempfile.mkdtemp(prefix=f"label-{name}-", dir=base))
        mark = directory / _UNDER_WAY
        mark.write_text(this_process(), encoding="utf-8")
    except OSError as error:
        raise StoreUnavailableError(unusable(base, str(error))) from error
    try:
        yield directory
    except Exception:
        mark.unlink(missing_ok=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)  # a label is not lost to a slow file system


def unusable(base: str | Path, problem: str) -> str:
    """Return what to tell of a directory that cannot be written."""
    return (
        f"Labels cannot be made in {base}: {problem}. Free some space there, or make it writable, "
        "then run the same command again: it continues."
    )


__all__ = ["attempt_directory", "base_directory", "remove_interrupted", "unusable"]
