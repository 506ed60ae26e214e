"""Files that are replaced only by complete ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def replaced_text(path: str | Path, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Yield a file to write, which takes its place once it is complete.

    When writing fails, what was there before stays. What a link leads to is replaced, not the
    link; a device or a pipe is written directly.

    Parameters
    ----------
    path
        The file.
    encoding
        Of its text; line ends are those of Unix.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        with target.open("w", encoding=encoding, newline="\n") as stream:
            yield stream
        return
    partial = target.with_name(target.name + ".partial")
    try:
        with partial.open("w", encoding=encoding, newline="\n") as stream:
            yield stream
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_bytes(path: str | Path, content: bytes) -> None:
    """Write a file of bytes, which takes its place once it is complete.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    target = Path(path).resolve()
    partial = target.with_name(target.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


__all__ = ["replace_bytes", "replaced_text"]
