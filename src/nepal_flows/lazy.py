"""Packages that import their modules when a name of theirs is asked for.

`nepal status` must answer at once: it needs a few modules of large packages, and neither the
figures nor the compiled kernels nor jobflow that the others import.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a package whose names are imported when they are asked for.

    Parameters
    ----------
    package
        Name of the package.
    homes
        Module of every name, inside the package.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get


__all__ = ["lazy_names"]
