"""Read a campaign's documents, and keep account of what is missing."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from nepal_flows.errors import NepalError, RecordError
from nepal_flows.records import Records
from nepal_flows.schemas import ApprovalDoc, CampaignDoc, Document, SelectionDoc

DocT = TypeVar("DocT", bound=Document)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(eq=False)
class Reader:
    """Reads documents and blobs, and keeps account of what is missing."""

    records: Records
    missing: list[str] = field(default_factory=list)

    def of_campaign(self, kind: type[DocT], campaign_id: str, keys: Iterable[str]) -> list[DocT]:
        """Return the campaign's documents of a class: its own, and those it took over by key."""
        wanted = list(dict.fromkeys(keys))
        own = self.records.query(kind, {"campaign_id": campaign_id})
        found = {doc.key: doc for doc in own}
        others = [key for key in wanted if key not in found]
        if others:
            taken_over = self.records.query(kind, {"key": {"$in": others}})
            found |= {doc.key: doc for doc in taken_over}
        self._note_missing(kind, wanted, found)
        return sorted(found.values(), key=age)

    def by_key(self, kind: type[DocT], keys: Iterable[str]) -> list[DocT]:
        """Return the documents of a class with these keys."""
        wanted = list(dict.fromkeys(keys))
        found = {doc.key: doc for key in wanted if (doc := self.records.find(kind, key))}
        self._note_missing(kind, wanted, found)
        return list(found.values())

    def _note_missing(
        self, kind: type[Document], wanted: Sequence[str], found: Container[str]
    ) -> None:
        gone = [key for key in wanted if key not in found]
        if gone:
            what = kind.kind.replace("_", " ")
            self.missing.append(
                f"{len(gone)} {what} document(s) of {len(wanted)} are not on record "
                f"(the first: {gone[0]})"
            )

    def attempt(
        self, what: str, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Return what `read` gives; None, and a note, where the records are at fault."""
        try:
            return read(*args, **kwargs)
        except (NepalError, ValueError) as error:
            self.missing.append(f"{what} cannot be shown: {error}")
            return None


def age(document: Document) -> tuple[int, str, str]:
    iteration = -1 if document.iteration is None else document.iteration
    return (iteration, document.created_at, document.key)


def stored_campaign(records: Records, campaign_id: str) -> CampaignDoc:
    campaign = records.find(CampaignDoc, campaign_id)
    if campaign is None:
        known = [str(row["key"]) for row in records.rows(CampaignDoc, properties=["key"])]
        listed = f"On record are: {', '.join(sorted(known))}." if known else "There is none yet."
        raise RecordError(f"There is no campaign `{campaign_id}` on record. {listed}")
    return campaign


def is_waiting(records: Records, campaign: CampaignDoc, selections: Sequence[SelectionDoc]) -> bool:
    if not campaign.settings.get("pause_before_label") or not selections:
        return False
    newest = selections[-1]
    return bool(newest.selected) and records.find(ApprovalDoc, newest.key) is None


def keys_of(*groups: Iterable[str | None]) -> list[str]:
    return [key for group in groups for key in group if key is not None]


__all__ = ["DocT", "Reader", "age", "is_waiting", "keys_of", "stored_campaign"]
