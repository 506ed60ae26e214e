"""Errors of stores in one form."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import (
    AutoReconnect,
    DocumentTooLarge,
    DuplicateKeyError,
    InvalidName,
    InvalidURI,
    PyMongoError,
)

from nepal_flows.errors import RecordError, StoreUnavailableError

_USER_AND_PASSWORD = re.compile(r"^(?!sqlite:|blobs:)(\w[\w+.-]*://)[^?]*@")

SERVER_IS_AWAY = "The server of the store"
"""How the message begins where a server does not answer: what was interrupted can be repeated."""


def shown_name(store: Any) -> str:
    """Return what a store is called in messages: where it is, without user name and password."""
    return _USER_AND_PASSWORD.sub(r"\1", str(store.name))


def wrong_address(store: Any) -> StoreUnavailableError:
    """Return what to raise where the address of a store cannot be understood."""
    return StoreUnavailableError(
        f"The address of the store {shown_name(store)} is not one of MongoDB. Write user name and "
        "password percent-encoded in jobflow.yaml (urllib.parse.quote_plus), or give `username` "
        "and `password` by themselves."
    )


def server_words(error: BaseException) -> str:
    """Return what the driver says of a server, without its own timeouts and descriptions."""
    return re.split(r", Timeout:|, full error:| \(configured timeouts:", str(error))[0]


def _store_errors() -> tuple[type[Exception], ...]:
    """Return what a store may raise; maggma's own only if it is in use, its import takes long."""
    maggma = sys.modules.get("maggma.core")
    return (PyMongoError,) if maggma is None else (PyMongoError, maggma.StoreError)


@contextmanager
def translated_errors(store: Any) -> Iterator[None]:
    """Turn what pymongo and maggma raise into the package's errors; duplicates pass through."""
    try:
        yield
    except DuplicateKeyError:
        raise
    except DocumentTooLarge as error:
        raise RecordError(
            f"A document is too large for {shown_name(store)}: {error}. Arrays belong in a blob."
        ) from error
    except (InvalidName, InvalidURI) as error:  # what they say may be a part of the password
        raise wrong_address(store) from error
    except AutoReconnect as error:  # it cannot be reached, or went away in between
        raise StoreUnavailableError(
            f"{SERVER_IS_AWAY} {shown_name(store)} does not answer: {server_words(error)}. "
            "Check host "
            "and port in jobflow.yaml and that the server runs, then run the same command again: "
            "it continues. "
            "NEPAL_STORE=embedded does without a server."
        ) from error
    except _store_errors() as error:
        raise StoreUnavailableError(
            f"The store {shown_name(store)} cannot be used: {server_words(error)}. Check its "
            "host, user name, password and database in jobflow.yaml, then run the same command "
            "again: it continues."
        ) from error


__all__ = ["server_words", "shown_name", "translated_errors", "wrong_address"]
