"""Where compiled kernels are kept: a folder of their own for every version of the numerics.

Numba's cache does not notice when a function changes that is called from another module, and a
stale kernel computes wrong numbers without a word. So the folder is named after the content of all
numerics, and a changed file means a new folder. It also works where the package is read-only.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from nepal_flows.errors import EngineError

_NUMERICS = Path(__file__).parents[1] / "core"
_UNUSED_S = 14 * 86400.0
_MARKER = "all-compiled"


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


def compile_kernels_once() -> None:
    """Compile all kernels in a process of its own, unless that has been done.

    A process that compiles a kernel and one that loads it from the cache may differ in the last
    digit, which a training then makes visible. So no process that computes ever compiles.

    Raises
    ------
    EngineError
        If the kernels cannot be compiled.
    """
    folder = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(folder) if folder else _default_base() / f"{numerics_digest()[:16]}-beside"
    marker = base / _MARKER
    if marker.exists():
        return
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; "
        "from nepal_flows.engines.warmup import compile_kernels; compile_kernels()"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(
            f"The kernels could not be compiled (exit code {done.returncode}): "
            f"{done.stderr.strip()[-500:]}. Run `nepal warmup` to see more."
        )
    base.mkdir(parents=True, exist_ok=True)
    marker.touch()


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


__all__ = ["compile_kernels_once", "numerics_digest", "use_kernel_cache"]
