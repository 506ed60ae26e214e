"""Where documents and bytes are kept: beside the campaign, or where jobflow.yaml says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nepal_flows.errors import SettingsError
from nepal_flows.records.jobflow_file import jobflow_file_error
from nepal_flows.records.records import (
    BLOBS_STORE,
    INDEXED_FIELDS,
    RECORDS_STORE,
    Records,
    has_jobflow_configuration,
)
from nepal_flows.records.server_table import SERVER_TIMEOUT_MS, server_table
from nepal_flows.records.sqlite_collection import SqliteCollection

if TYPE_CHECKING:
    from jobflow.core.store import JobStore

    from nepal_flows.records.blob_directory import BlobDirectory

STORE_FILE = "store.sqlite"
BLOB_DIRECTORY = "blobs"


def embedded_job_store(directory: str | Path) -> "JobStore":
    """Return a persistent JobStore in a directory, connected; it needs no server.

    ``store.sqlite`` holds the outputs of jobs (table ``outputs``), our documents (``records``) and
    what atomate2 puts aside (``data``); ``blobs`` holds bytes by their SHA-256. Any process may
    open it again, also while another writes, and after that one was killed.

    Raises
    ------
    StoreUnavailableError
        If the directory cannot be made, read or written.
    """
    from jobflow.core.store import JobStore  # noqa: PLC0415 - half a second

    from nepal_flows.records.sqlite_store import SqliteStore  # noqa: PLC0415

    file = _base(directory) / STORE_FILE
    job_store = JobStore(
        SqliteStore(file, "outputs", indexes=["uuid", "index"], key="uuid"),
        additional_stores={
            "data": SqliteStore(file, "data", indexes=["blob_uuid"], key="blob_uuid"),
            RECORDS_STORE: SqliteStore(file, RECORDS_STORE, indexes=INDEXED_FIELDS, key="_id"),
            BLOBS_STORE: _blob_directory(directory),
        },
    )
    job_store.connect()
    return job_store


def _base(directory: str | Path) -> Path:
    return Path(directory).expanduser().absolute()


def _blob_directory(directory: str | Path) -> "BlobDirectory":
    from nepal_flows.records.blob_directory import BlobDirectory  # noqa: PLC0415 - imports maggma

    return BlobDirectory(_base(directory) / BLOB_DIRECTORY)


class EmbeddedTable:
    """The records of an embedded store without maggma around them: what `Records` needs of it."""

    def __init__(self, directory: str | Path) -> None:
        file = _base(directory) / STORE_FILE
        self.name = f"sqlite://{file}/{RECORDS_STORE}"
        self._collection = SqliteCollection(file, RECORDS_STORE, indexes=INDEXED_FIELDS)

    def close(self) -> None:
        """Close the file."""
        self._collection.close()


def records_from_settings(directory: str | Path, *, kind: str = "auto") -> Records:
    """Return the records that a site's settings ask for, without a JobStore where none is needed.

    Parameters and errors are those of `job_store_from_settings`.
    """
    if kind == "embedded" or (kind == "auto" and not has_jobflow_configuration()):
        return Records.of_table(EmbeddedTable(directory), lambda: _blob_directory(directory))
    table = server_table(RECORDS_STORE, BLOBS_STORE)
    if table is not None:
        return Records.of_table(table, lambda: _blobs_on_server(directory))
    return Records(job_store_from_settings(directory, kind=kind))


def _blobs_on_server(directory: str | Path) -> Any:
    whole: Any = job_store_from_settings(directory, kind="jobflow")
    return whole.additional_stores[BLOBS_STORE]


def job_store_from_settings(directory: str | Path, *, kind: str = "auto") -> "JobStore":
    """Return the JobStore that a site's settings ask for, connected.

    Parameters
    ----------
    directory
        Where the embedded store is, if it is used.
    kind
        ``jobflow`` for the store of jobflow.yaml, ``embedded`` for the one in the directory,
        ``auto`` for the first where such a file (``JOBFLOW_CONFIG_FILE``, ``~/.jobflow.yaml``) or
        ``JOBFLOW_JOB_STORE`` exists, and the second otherwise.

    Raises
    ------
    SettingsError
        If jobflow.yaml cannot be used or lacks the stores ``records`` and ``blobs``.
    StoreUnavailableError
        If a store cannot be reached.
    """
    if kind not in ("auto", "jobflow", "embedded"):
        raise SettingsError(
            f"`store` is {kind!r}. Use `auto`, `jobflow` (what jobflow.yaml says) or `embedded`."
        )
    if kind == "embedded" or (kind == "auto" and not has_jobflow_configuration()):
        return embedded_job_store(directory)
    try:
        from jobflow import SETTINGS  # noqa: PLC0415
    except Exception as error:
        wrong_file = jobflow_file_error(error)
        if wrong_file is None:
            raise
        raise wrong_file from error
    job_store = SETTINGS.JOB_STORE
    _give_up_soon(job_store)
    Records(job_store).ensure_indexes()
    job_store.connect()
    return job_store


def _give_up_soon(job_store: "JobStore") -> None:
    """Let stores on a server fail within seconds where it does not answer; jobflow.yaml wins."""
    whole: Any = job_store
    for store in (whole.docs_store, *whole.additional_stores.values()):
        given = getattr(store, "mongoclient_kwargs", None)
        if given is not None:
            store.mongoclient_kwargs = {"serverSelectionTimeoutMS": SERVER_TIMEOUT_MS, **given}


__all__ = [
    "embedded_job_store",
    "has_jobflow_configuration",
    "job_store_from_settings",
    "records_from_settings",
]
