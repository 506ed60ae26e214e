"""What every export bundle has in common."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepal_flows.core.structure import LabelledStructure
from nepal_flows.io.extxyz import InfoValue
from nepal_flows.schemas import LabelDoc


@dataclass(frozen=True)
class Bundle:
    """What was exported.

    Attributes
    ----------
    directory
        The folder.
    files
        Names of the files in it.
    n_train, n_test
        Frames trained on and held out.
    model_sha256
        Hash of the model.
    """

    directory: Path
    files: tuple[str, ...]
    n_train: int
    n_test: int
    model_sha256: str


def origin_of(label: LabelDoc, frame: LabelledStructure) -> dict[str, InfoValue]:
    """Return where a label comes from, as values of its frame."""
    origin: dict[str, Any] = {
        "label_key": label.key,
        "label_energy": frame.energy,
        "source": label.ancestry.source,
        "condition": label.ancestry.condition,
        "iteration": label.iteration,
        "step": label.ancestry.step,
        "gamma": label.ancestry.gamma,
    }
    return {name: value for name, value in origin.items() if value is not None}


__all__ = ["Bundle", "origin_of"]
