"""Keys: the names under which structures, labels, data sets and models are found again.

A key is the SHA-256 of what makes a thing what it is, and of nothing else: two sites that label
the same structure with the same physics arrive at the same key. Each kind of key begins with a tag
of its own, so that no two kinds can coincide; the tag's number rises if a recipe ever changes.
"""

import hashlib
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError

_NAMESPACE = uuid.UUID("6f1d3a52-2c67-5d0b-9a77-0f8c5b1e4d90")

POSITION_DIGITS_A = 1e-6
"""Positions and cells are rounded to this before hashing, Å."""


def structure_key(structure: Structure) -> str:
    """Return the key of a structure: numbers, periodicity, cell and positions, order as stored.

    Nothing is made canonical: a permuted or translated copy has another key (near-duplicates are
    found by another test, with a tolerance). Coordinates are counted in 1e-6 Å, so that neither
    the last digits nor the sign of zero matter.

    Examples
    --------
    >>> atom = Structure(np.array([29]), np.zeros((1, 3)), np.eye(3) * 5.0)
    >>> structure_key(atom)[:8]
    'f741e47a'
    """
    digest = hashlib.sha256(b"nepal-flows structure 1\0")
    digest.update(np.int64(structure.n_atoms).astype("<i8").tobytes())
    digest.update(structure.numbers.astype("<i8").tobytes())
    digest.update(bytes(structure.pbc))
    for array in (structure.cell, structure.positions):
        digest.update(np.rint(array / POSITION_DIGITS_A).astype("<i8").tobytes())
    return digest.hexdigest()


def settings_key(physics: Mapping[str, Any]) -> str:
    """Return the key of a label's physics: functional, cutoffs, k rule, smearing, hashes ...

    Parameters
    ----------
    physics
        Plain JSON values. The order of keys does not matter, and 300 is the same as 300.0.

    Raises
    ------
    InputError
        If a value is not a plain JSON value, or is NaN or infinite.
    """
    return _hash("settings", dict(physics))


def label_key(structure: str, settings: str) -> str:
    """Return the key of a label from its structure key and its settings key."""
    return _hash("label", structure, settings)


def dataset_key(label_keys: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """Return the key of a data set: its labels in order, and their weights (1 when not given).

    Raises
    ------
    InputError
        If there are not as many weights as labels.
    """
    weights = [1.0] * len(label_keys) if weights is None else [float(weight) for weight in weights]
    if len(weights) != len(label_keys):
        raise InputError(
            f"There are {len(weights)} weights for {len(label_keys)} labels; give one for each."
        )
    return _hash("dataset", list(label_keys), weights)


def model_key(
    dataset: str,
    settings: Mapping[str, Any],
    *,
    seed: int,
    trainer: str,
    trainer_version: str,
    initial_model_sha256: str | None = None,
) -> str:
    """Return the key of a model: what it was trained on, and how.

    Parameters
    ----------
    dataset
        The data set's key.
    settings
        Architecture and training settings, plain JSON values.
    seed
        Seed of the training.
    trainer, trainer_version
        The program that trains, and its version.
    initial_model_sha256
        Model that the training was warm-started from, if any.
    """
    return _hash(
        "model", dataset, dict(settings), seed, trainer, trainer_version, initial_model_sha256
    )


def derived_key(kind: str, *parts: Any) -> str:
    """Return the key of a document that is named by its place: campaign, iteration, stage ..."""
    return _hash(kind, *parts)


def derived_uuid(*parts: Any) -> str:
    """Return a UUID (version 5) that is the same whenever the parts are.

    Jobs created by a job get theirs from (campaign, iteration, stage, key), so that a job that is
    run again creates the same children.

    Examples
    --------
    >>> derived_uuid("campaign", 3, "train") == derived_uuid("campaign", 3, "train")
    True
    """
    return str(uuid.uuid5(_NAMESPACE, _canonical_json(list(parts))))


def derived_seed(*parts: Any, n_bits: int = 31) -> int:
    """Return a seed that is the same whenever the parts are, between 0 and 2**n_bits - 1.

    The default fits the 32-bit seeds of the programs that are run.
    """
    return int(_hash("seed", *parts), 16) >> (256 - n_bits)


def _hash(tag: str, *parts: Any) -> str:
    content = f"nepal-flows {tag} 1\0{_canonical_json(list(parts))}"
    return hashlib.sha256(content.encode()).hexdigest()


def _canonical_json(value: Any) -> str:
    return json.dumps(
        _canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _canonical(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        if not math.isfinite(number):
            raise InputError(f"`{value}` cannot be part of a key. Give a finite number.")
        return int(value) if number == int(number) else number
    if isinstance(value, Mapping):
        return {str(name): _canonical(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_canonical(item) for item in value]
    raise InputError(
        f"`{value!r}` ({type(value).__name__}) cannot be part of a key. Use plain JSON values: "
        "text, numbers, true, false, null, lists and mappings."
    )


__all__ = [
    "dataset_key",
    "derived_key",
    "derived_seed",
    "derived_uuid",
    "label_key",
    "model_key",
    "settings_key",
    "structure_key",
]
