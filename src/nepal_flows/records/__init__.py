"""What exists by key: documents, bytes, claims and locks."""

from typing import TYPE_CHECKING

from nepal_flows.lazy import lazy_names

if TYPE_CHECKING:
    from nepal_flows.records.blob_directory import BlobDirectory
    from nepal_flows.records.blobs import Blobs
    from nepal_flows.records.chosen import ChosenLabel, chosen_keys, chosen_labels
    from nepal_flows.records.integrity import damaged_blobs, require_intact
    from nepal_flows.records.keys import (
        dataset_key,
        derived_key,
        derived_seed,
        derived_uuid,
        label_key,
        model_key,
        settings_key,
        structure_key,
    )
    from nepal_flows.records.lock import CampaignLock
    from nepal_flows.records.once import made_once, make_missing
    from nepal_flows.records.records import Records
    from nepal_flows.records.sqlite_store import SqliteStore
    from nepal_flows.records.store import (
        embedded_job_store,
        job_store_from_settings,
        records_from_settings,
    )

__all__ = [
    "BlobDirectory",
    "Blobs",
    "CampaignLock",
    "ChosenLabel",
    "Records",
    "SqliteStore",
    "chosen_keys",
    "chosen_labels",
    "damaged_blobs",
    "dataset_key",
    "derived_key",
    "derived_seed",
    "derived_uuid",
    "embedded_job_store",
    "job_store_from_settings",
    "label_key",
    "made_once",
    "make_missing",
    "model_key",
    "records_from_settings",
    "require_intact",
    "settings_key",
    "structure_key",
]

_HOMES = {
    "BlobDirectory": "blob_directory",
    "Blobs": "blobs",
    "CampaignLock": "lock",
    "ChosenLabel": "chosen",
    "Records": "records",
    "SqliteStore": "sqlite_store",
    "chosen_keys": "chosen",
    "chosen_labels": "chosen",
    "damaged_blobs": "integrity",
    "dataset_key": "keys",
    "derived_key": "keys",
    "derived_seed": "keys",
    "derived_uuid": "keys",
    "embedded_job_store": "store",
    "job_store_from_settings": "store",
    "label_key": "keys",
    "made_once": "once",
    "make_missing": "once",
    "model_key": "keys",
    "records_from_settings": "store",
    "require_intact": "integrity",
    "settings_key": "keys",
    "structure_key": "keys",
}
__getattr__ = lazy_names(__name__, _HOMES)
