"""Which labels a campaign asked for: its selections, joined with what was labelled."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter, itemgetter
from typing import Any, TypeVar

from nepal_flows.records.keys import label_key
from nepal_flows.records.records import Records
from nepal_flows.schemas import LabelDoc, SelectedFrame, SelectionDoc

T = TypeVar("T")

_MANY = 500


@dataclass(frozen=True)
class ChosenLabel:
    """A label, and why a campaign asked for it.

    Attributes
    ----------
    label
        As stored; another campaign may have made it.
    frame
        As chosen.
    iteration
        Iteration that asked for it; None for seeds and imports.
    """

    label: LabelDoc
    frame: SelectedFrame
    iteration: int | None


def chosen_labels(
    records: Records, campaign_id: str, settings: str, *, before: int | None = None
) -> list[ChosenLabel]:
    """Return the labels of a campaign in the order in which they were chosen, each once.

    A frame whose label is not there yet is passed over: it is in flight. A frame that was asked
    for twice, because the campaign file changed between, is trained on if either asked for that:
    it must not be held out too.

    Parameters
    ----------
    records, campaign_id
        Where, and of which campaign.
    settings
        Key of the physics of its labels.
    before
        Only what iterations before this one asked for: what its model may know, whether or not
        the iteration was interrupted while its own frames were labelled. None for all.
    """
    wanted = chosen_keys(records, campaign_id, settings, before=before)
    query = partial(records.query, LabelDoc)
    labels = _by_key(query, attrgetter("key"), campaign_id, wanted)
    return [ChosenLabel(labels[key], *asked) for key, asked in wanted.items() if key in labels]


def label_rows(
    records: Records, campaign_id: str, keys: Collection[str], properties: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return some properties of labels, ``key`` among them, by their key."""

    def rows(criteria: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
        return records.rows(LabelDoc, criteria, properties)

    return _by_key(rows, itemgetter("key"), campaign_id, keys)


def _by_key(
    find: Callable[[Mapping[str, Any]], Iterable[T]],
    key_of: Callable[[T], str],
    campaign_id: str,
    keys: Collection[str],
) -> dict[str, T]:
    """Return what ``find`` gives for keys of labels, by key.

    Of many, most are a campaign's own, which a server finds at once; by key it is asked for others.
    """
    found: dict[str, T] = {}
    if len(keys) > _MANY:
        own = ((key_of(item), item) for item in find({"campaign_id": campaign_id}))
        found = {key: item for key, item in own if key in keys}
    others = [key for key in keys if key not in found]
    if others:
        found |= {key_of(item): item for item in find({"key": {"$in": others}})}
    return found


def chosen_keys(
    records: Records, campaign_id: str, settings: str, *, before: int | None = None
) -> dict[str, tuple[SelectedFrame, int | None]]:
    """Return by label key which frames a campaign asked for, and in which iteration.

    The parameters are those of `chosen_labels`; seeds and imports have no iteration.
    """
    selections = sorted(
        records.query(SelectionDoc, {"campaign_id": campaign_id}),
        key=_age,
    )
    wanted: dict[str, tuple[SelectedFrame, int | None]] = {}
    for doc in selections:
        if before is not None and doc.iteration is not None and doc.iteration >= before:
            continue
        for frame in doc.selected:
            key = label_key(frame.structure_key, settings)
            if key not in wanted or (wanted[key][0].role, frame.role) == ("holdout", "train"):
                wanted[key] = (frame, doc.iteration)
    return wanted


def _age(document: SelectionDoc) -> tuple[int, bool, str]:
    """Return what selections are sorted by: an import comes after the iteration it followed."""
    iteration = -1 if document.iteration is None else document.iteration
    return iteration, not document.model_sha256, document.key


__all__ = ["ChosenLabel", "chosen_keys", "chosen_labels", "label_rows"]
