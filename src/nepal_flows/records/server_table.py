"""The records on a server without jobflow and maggma around them: importing those takes longer than
most questions to the store.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nepal_flows.records.connection import wrong_address

_PLAIN = frozenset({"host", "port", "username", "password", "auth_source", "uri"})
_KNOWN = _PLAIN | {"type", "database", "collection_name", "mongoclient_kwargs"}

SERVER_TIMEOUT_MS = 5000
"""Time after which a silent server is given up, unless jobflow.yaml says otherwise."""


class ServerTable:
    """The collection of records: what `Records` needs of a store.

    Attributes
    ----------
    name
        Where it is, for messages.
    """

    def __init__(self, place: Mapping[str, Any]) -> None:
        from pymongo import MongoClient  # noqa: PLC0415 - not needed by the embedded store
        from pymongo.errors import InvalidName, InvalidURI  # noqa: PLC0415

        options = {
            "serverSelectionTimeoutMS": SERVER_TIMEOUT_MS,
            **place.get("mongoclient_kwargs", {}),
        }
        database, collection = place["database"], place["collection_name"]
        host, port = place.get("host", "localhost"), place.get("port", 27017)
        where = place["uri"].split("?")[0] if "uri" in place else f"mongo://{host}"
        self.name = f"{where}/{database}/{collection}"
        if "uri" not in place and place.get("username"):
            options["authSource"] = place.get("auth_source") or database
            options |= {name: place.get(name, "") for name in ("username", "password")}
        address = (place["uri"],) if "uri" in place else (host, port)
        try:
            self._client: Any = MongoClient(*address, **options)
        except (InvalidName, InvalidURI, ValueError) as error:
            raise wrong_address(self) from error
        self._collection = self._client[database][collection]

    def ensure_index(self, key: str) -> None:
        """Index a field."""
        self._collection.create_index(key, background=True)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def server_table(records_store: str, blobs_store: str) -> ServerTable | None:
    """Return the records that jobflow.yaml describes; None where only jobflow understands it.

    Parameters
    ----------
    records_store, blobs_store
        Names of the additional stores that must be there.
    """
    file = Path(os.environ.get("JOBFLOW_CONFIG_FILE") or "~/.jobflow.yaml").expanduser()
    try:
        additional = yaml.safe_load(file.read_text())["JOB_STORE"]["additional_stores"]
        place, _ = additional[records_store], additional[blobs_store]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    is_plain = isinstance(place, dict) and place.get("type") == "MongoStore"
    if not is_plain or set(place) - _KNOWN or not {"database", "collection_name"} <= set(place):
        return None
    return None if os.environ.get("JOBFLOW_JOB_STORE") else ServerTable(place)


__all__ = ["SERVER_TIMEOUT_MS", "ServerTable", "server_table"]
