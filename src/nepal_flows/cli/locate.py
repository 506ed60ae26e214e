"""Find the campaign a command is about."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nepal_flows.campaign.file import campaign_directory
from nepal_flows.errors import CampaignError, SettingsError
from nepal_flows.records import (
    CampaignLock,
    Records,
    job_store_from_settings,
    records_from_settings,
)
from nepal_flows.records.store import has_jobflow_configuration
from nepal_flows.schemas import CampaignDoc
from nepal_flows.settings import read_settings

if TYPE_CHECKING:
    from nepal_flows.campaign.read import LoadedCampaign

CAMPAIGN_FILE = "campaign.yaml"
"""What commands read where nothing is named."""

STORE = "store"
"""Folder of the embedded store, inside the campaign's folder."""


@dataclass(frozen=True, eq=False)
class Located:
    """A campaign on record.

    Attributes
    ----------
    directory
        The campaign's folder.
    records
        The store it is in.
    campaign
        The campaign as it stands.
    """

    directory: Path
    records: Records
    campaign: CampaignDoc


def located_campaign(target: Path | None) -> Located:
    """Return the campaign that a file, a folder, or the working directory names.

    Parameters
    ----------
    target
        A campaign file, a campaign's folder, a folder with only one campaign's in it, or None for
        the working directory. With a server a name or an id, too, and None for the campaign.yaml
        of the working directory.

    Raises
    ------
    CampaignError
        If there is none, or more than one.
    """
    kind = read_settings().store
    on_server = uses_server()
    if target is None and on_server:
        target = _file_here(Path.cwd())
    directory, name = _directory(target, takes_names=on_server)
    if not on_server and not (directory / STORE).is_dir():
        raise CampaignError(
            f"There is no campaign in `{directory}` yet: it has not run. Start it with "
            "`nepal run CAMPAIGN`."
        )
    records = records_from_settings(directory / STORE, kind=kind)
    found = list(records.query(CampaignDoc, {"name": name}))
    if not found and on_server:
        found = list(records.query(CampaignDoc, {"key": name}))
    if not found and not on_server:
        found = list(records.query(CampaignDoc))
    if len(found) != 1:
        known = ", ".join(sorted(str(row["name"]) for row in records.rows(CampaignDoc))) or "none"
        raise CampaignError(
            f"{'Several campaigns are' if found else 'No campaign is'} called `{name}` in the "
            f"store (on record: {known}). Name another, or the campaign file."
        )
    return Located(directory, records, found[0])


def _file_here(here: Path) -> Path:
    """Return the campaign file of the working directory; a server may hold those of others, too."""
    if not (here / CAMPAIGN_FILE).is_file():
        names = sorted(str(row["name"]) for row in server_records().rows(CampaignDoc))
        raise CampaignError(
            f"There is no {CAMPAIGN_FILE} in `{here}`. Name the campaign, or its file (on record: "
            f"{', '.join(names) or 'none'})."
        )
    return here / CAMPAIGN_FILE


def uses_server() -> bool:
    """Return whether documents are kept where jobflow.yaml says, and not in campaigns' folders."""
    kind = read_settings().store
    return kind == "jobflow" or (kind == "auto" and has_jobflow_configuration())


def server_records() -> Records:
    """Return the records that workers of a cluster share.

    Raises
    ------
    SettingsError
        If documents are kept in campaigns' folders here, where no worker would find them.
    """
    if not uses_server():
        raise SettingsError(
            "Workers of a cluster share a database, but no jobflow.yaml was found. `nepal init "
            "--cluster` writes one; then set JOBFLOW_CONFIG_FILE to it, or copy it to "
            "~/.jobflow.yaml."
        )
    return Records(job_store_from_settings(Path.cwd(), kind="jobflow"))


@dataclass(frozen=True, eq=False)
class Opened:
    """A campaign's folder and store, held against other processes.

    Attributes
    ----------
    directory
        The campaign's folder.
    records
        Its store.
    loaded
        The campaign file.
    """

    directory: Path
    records: Records
    loaded: "LoadedCampaign"


@contextmanager
def opened_campaign(path: Path, directory: Path | None) -> Iterator[Opened]:
    """Yield the folder and store of a campaign file, made where they are missing.

    Raises
    ------
    CampaignError
        If the file is wrong.
    CampaignLockedError
        If another process runs the campaign.
    """
    from nepal_flows.campaign.read import load_campaign
    from nepal_flows.engines.pool import close_shared_pool

    loaded = load_campaign(path)
    folder = directory or loaded.directory
    folder.mkdir(parents=True, exist_ok=True)
    with CampaignLock(folder):
        store = job_store_from_settings(folder / STORE, kind=read_settings().store)
        try:
            yield Opened(folder, Records(store), loaded)
        finally:
            close_shared_pool()


def is_running(directory: Path) -> bool:
    """Return whether a process of this machine runs the campaign in a folder."""
    return (directory / "lock").exists() and CampaignLock(directory).is_held()


def _directory(target: Path | None, *, takes_names: bool) -> tuple[Path, str]:
    """Return the campaign's folder and name; with a server a name or id alone will do."""
    if target is None:
        return _only_one_in(Path.cwd())
    if takes_names and not target.exists() and len(target.parts) == 1 and not target.suffix:
        return Path.cwd() / target.name, target.name
    if target.is_dir():
        has_store = (target / STORE).is_dir() or not any(target.glob(f"*/{STORE}"))
        return (target.resolve(), target.resolve().name) if has_store else _only_one_in(target)
    directory = campaign_directory(target)
    return directory, directory.name


def _only_one_in(here: Path) -> tuple[Path, str]:
    if (here / STORE).is_dir():
        return here, here.name
    folders = sorted(folder.parent for folder in here.glob(f"*/{STORE}") if folder.is_dir())
    if len(folders) == 1:
        return folders[0], folders[0].name
    if not folders:
        raise CampaignError(
            f"No campaign has run in `{here}`. Name a campaign file or a campaign's folder, or "
            "start one with `nepal run CAMPAIGN`."
        )
    names = ", ".join(folder.name for folder in folders)
    raise CampaignError(f"Several campaigns have run here: {names}. Name one of them.")


__all__ = [
    "STORE",
    "Located",
    "Opened",
    "is_running",
    "located_campaign",
    "opened_campaign",
    "server_records",
    "uses_server",
]
