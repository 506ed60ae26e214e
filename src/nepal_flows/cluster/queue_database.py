"""FireWorks' collections without FireWorks around them, to look at a queue: its import takes longer
than the look.
"""

from pathlib import Path
from typing import Any, Protocol

import pymongo
import yaml
from pymongo.errors import PyMongoError

from nepal_flows.errors import StoreUnavailableError
from nepal_flows.records.connection import server_words
from nepal_flows.settings import read_settings

ANSWER_WITHIN_S = 10.0
"""Time after which a silent database is given up by a command."""

_PLAIN = ("host", "port", "name", "username", "password", "authsource", "mongoclient_kwargs")
_WITHOUT_MEANING_HERE = ("logdir", "strm_lvl", "user_indices", "wf_user_indices")


class QueueDatabase(Protocol):
    """The collections of FireWorks: a LaunchPad, or a `PlainDatabase`."""

    name: str
    fireworks: Any
    launches: Any
    workflows: Any
    fw_id_assigner: Any


class PlainDatabase:
    """The collections of FireWorks where my_launchpad.yaml says.

    Parameters
    ----------
    place
        Its content.
    """

    def __init__(self, place: dict[str, Any]) -> None:
        self.name: str = place.get("name") or "fireworks"
        client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
            place.get("host") or "localhost",
            place.get("port") or 27017,
            username=place.get("username"),
            password=place.get("password"),
            authSource=place.get("authsource") or self.name,
            **(place.get("mongoclient_kwargs") or {}),
        )
        database = client[self.name]
        self.fireworks = database.fireworks
        self.launches = database.launches
        self.workflows = database.workflows
        self.fw_id_assigner = database.fw_id_assigner


def plain_database() -> PlainDatabase | None:
    """Return the queue of this site, which answers; None where only FireWorks finds it.

    Raises
    ------
    StoreUnavailableError
        If the database does not answer.
    """
    file = read_settings().launchpad_file
    if file is None:
        return None
    place = Path(file).expanduser()
    try:
        content = yaml.safe_load(place.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    if not isinstance(content, dict) or set(content) - {*_PLAIN, *_WITHOUT_MEANING_HERE}:
        return None
    database = PlainDatabase(content)
    require_answer(database, place)
    return database


def require_answer(database: QueueDatabase, place: Path) -> None:
    """Raise unless the database answers and lets us in.

    Raises
    ------
    StoreUnavailableError
        With what the server said; never with a password.
    """
    try:
        with pymongo.timeout(ANSWER_WITHIN_S):
            database.fw_id_assigner.find_one()
    except PyMongoError as error:
        raise StoreUnavailableError(
            f"The FireWorks database `{database.name}` of {place} does not answer: "
            f"{server_words(error)}. Check host, port, user and password there, and that the "
            "server runs."
        ) from error


__all__ = ["PlainDatabase", "QueueDatabase", "plain_database", "require_answer"]
