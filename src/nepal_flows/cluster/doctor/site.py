"""Trouble of a site: who may read its passwords, versions that differ, disks that are full."""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

from fireworks import LaunchPad

from nepal_flows import __version__
from nepal_flows.cluster.configuration import KINDS
from nepal_flows.cluster.doctor.findings import Finding
from nepal_flows.cluster.launchpad import launchpad_file

_SECRET = re.compile(
    r"(?mi)^\s*(?!#)[^#\n]*"
    r"(password[\"']?\s*:\s*(?!(?:null|~)\s*(?:[,}#]|$))([\"'][^\"'\s]|[^\s#\"',}])|mongodb(\+srv)?://[^:\s]*:\S+@)"
)
_PRIVATE = stat.S_IRUSR | stat.S_IWUSR
_LEAST_FREE_GB = 5.0
_PACKAGES = ("fireworks", "jobflow", "atomate2", "pymongo")


def site_findings(launchpad: LaunchPad, *, directories: tuple[Path, ...]) -> Iterator[Finding]:
    """Yield what is wrong with a site.

    Parameters
    ----------
    launchpad
        The FireWorks database.
    directories
        Where campaigns and launches are.
    """
    versions = ", ".join(f"{package} {version(package)}" for package in _PACKAGES)
    server = launchpad.connection.server_info().get("version", "?")
    yield Finding("ok", f"nepal_flows {__version__}, {versions}; database server {server}.")
    yield from open_secrets(configuration_files())
    yield from _other_versions(launchpad)
    for directory in directories:
        free_GB = shutil.disk_usage(directory).free / 1e9
        if free_GB < _LEAST_FREE_GB:
            yield Finding(
                "problem",
                f"Only {free_GB:.1f} GB are free where {directory} is.",
                "Remove old launch folders: what campaigns need is in the store.",
            )


def configuration_files() -> list[Path]:
    """Return the files of this site that may hold a password, of its workers too."""
    named = [os.environ.get("JOBFLOW_CONFIG_FILE") or "~/.jobflow.yaml"]
    named += [os.environ[name] for name in ("FW_CONFIG_FILE",) if os.environ.get(name)]
    files = [Path(name).expanduser() for name in named]
    launchpad = launchpad_file()
    if launchpad is not None:
        files.append(launchpad)
    folders = {file.resolve().parents[1] / kind for file in files for kind in ("login", *KINDS)}
    files += [folder / name for folder in folders for name in ("my_launchpad.yaml", "jobflow.yaml")]
    return sorted({file.resolve() for file in files if file.is_file()})


def open_secrets(files: list[Path]) -> Iterator[Finding]:
    """Yield files that hold a password and that others may read."""
    for file in files:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and _SECRET.search(file.read_text()):
            yield Finding(
                "problem",
                f"{file} holds a password, and others may read it ({mode:o}).",
                "it is made yours alone (chmod 600).",
                partial(file.chmod, _PRIVATE),
            )


def _other_versions(launchpad: LaunchPad) -> Iterator[Finding]:
    """Yield versions of workers that differ from the one here."""
    place = "action.stored_data.nepal_worker.version"
    rows = launchpad.launches.find(
        {place: {"$exists": True}},
        {place: 1, "fworker.name": 1},
        sort=[("launch_id", -1)],
        limit=100,
    )
    seen = {
        (row["action"]["stored_data"]["nepal_worker"]["version"], row["fworker"]["name"])
        for row in rows
    }
    for other, worker in sorted(seen):
        if other != __version__:
            yield Finding(
                "note",
                f"The worker `{worker}` runs nepal_flows {other}, this machine {__version__}.",
                "Install one version everywhere: documents of a newer one cannot be read.",
            )


__all__ = ["configuration_files", "open_secrets", "site_findings"]
