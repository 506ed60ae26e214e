"""Where compiled kernels are kept: a folder of their own for every version of the numerics.

Numba's cache does not notice when a function changes that is called from another module, and a
stale kernel computes wrong numbers without a word. So the folder is named after the content of all
numerics, and a changed file means a new folder. It also works where the package is read-only.
"""

import hashlib
import os
import shutil
import sys
import time
from importlib.metadata import version
from pathlib import Path

_NUMERICS = Path(__file__).parents[1] / "core"
_UNUSED_S = 14 * 86400.0


def use_kernel_cache(base: str | Path | None = None) -> Path:
    """Make this process, and those it starts, keep compiled kernels in the right folder.

    To be called before the first kernel is used. A ``NUMBA_CACHE_DIR`` that a person has set stays.

    Parameters
    ----------
    base
        Folder that holds the caches of all versions; by default in the user's cache folder.
        Choose a local disk where homes are on a network.
    """
    given = os.environ.get("NUMBA_CACHE_DIR")
    if given:
        return Path(given)
    root = Path(base) if base is not None else _default_base()
    folder = root / numerics_digest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    _remove_unused(root, folder)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:
        sys.modules["numba"].config.CACHE_DIR = str(folder)
    return folder


def numerics_digest() -> str:
    """Return the SHA-256 of all sources of the numerics, of where they are, and of the compiler.

    Numba finds kernels by the path of their source: two copies of the package share none.
    """
    compiler = f"{version('numba')} {version('llvmlite')} {sys.version}"
    digest = hashlib.sha256(f"{_NUMERICS.resolve()} {compiler}".encode())
    for path in sorted(_NUMERICS.rglob("*.py")):
        digest.update(path.relative_to(_NUMERICS).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _default_base() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "nepal_flows" / "kernels"


def _remove_unused(root: Path, used: Path) -> None:
    for folder in root.iterdir():
        if folder != used and folder.is_dir() and time.time() - folder.stat().st_mtime > _UNUSED_S:
            shutil.rmtree(folder, ignore_errors=True)


__all__ = ["numerics_digest", "use_kernel_cache"]
