"""How `nepal train` shows its result."""

from pathlib import Path
from typing import Any


def training_content(run: Any, out: Path) -> dict[str, Any]:
    """Return the JSON document of a training."""
    return {"out": out, "run": run}


def training_lines(run: Any, out: Path) -> list[str]:
    """Return a training's result as text."""
    return [str(out), str(run)]


__all__ = ["training_content", "training_lines"]
