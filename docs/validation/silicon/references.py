"""DFT labels of a campaign's own settings: kept in a small file, made where they are missing.

Three places are asked in turn: the committed file, which needs no DFT; the store, where every
label is put the moment it is made, under the key of its structure and settings; and the code.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nepal_flows.campaign.labels import AseLabels, KPoints
from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.flows.labels import label_frames, labelled_structures
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.records import Records, embedded_job_store
from silicon.evaluation import relaxed

logger = logging.getLogger(__name__)

SAME_A = 1e-4
"""Structures that differ by less are the same, Å."""


@dataclass(frozen=True, eq=False)
class Kept:
    """Labels of one name.

    Attributes
    ----------
    labels
        In the order they were asked for.
    cpu_s
        What each took.
    version
        Version of the code.
    """

    labels: tuple[LabelledStructure, ...]
    cpu_s: tuple[float, ...]
    version: str


@dataclass(eq=False)
class References:
    """The labels of one campaign's code; callable as ``Evaluator``.

    Attributes
    ----------
    loaded
        The campaign file, whose labels section is used as it is.
    file
        Where labels are kept for good.
    directory
        Folder of the store, and of what the code writes.
    may_label
        Whether missing labels are made.
    workers
        Labels side by side.
    kpoint_spacing_per_A
        k-points of mode ``converged`` instead of the campaign's own.
    """

    loaded: LoadedCampaign
    file: Path
    directory: Path
    may_label: bool = False
    workers: int = 1
    kpoint_spacing_per_A: float | None = None
    kept: dict[str, Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.file.exists() and not self.kept:
            self.kept = read_labels(self.file)

    def __call__(self, name: str, structures: Sequence[Structure]) -> list[LabelledStructure]:
        """Return the labels of structures.

        Raises
        ------
        CampaignError
            If they are not on record and may not be made.
        LabelError
            If what is on record belongs to other structures, or a label failed.
        """
        if name not in self.kept:
            self.kept[name] = self._made(name, structures)
            self._write()
        labels = self.kept[name].labels
        if len(labels) != len(structures) or not all(map(is_same, labels, structures)):
            raise LabelError(
                f"The labels `{name}` in {self.file} belong to other structures than those asked "
                "for now. Remove the file, or make them again with `--relabel`."
            )
        return list(labels)

    def relaxed(self, name: str, start: Structure) -> LabelledStructure:
        """Return what DFT itself relaxes a structure to; every step is a label in the store.

        Raises
        ------
        CampaignError
            If it is not on record and DFT was not asked for.
        LabelError
            If a label failed.
        EngineError
            If it does not come to rest.
        """
        if name not in self.kept:
            steps: list[Kept] = []

            def evaluate(structure: Structure) -> LabelledStructure:
                steps.append(self._made(name, [structure]))
                return steps[-1].labels[0]

            final = relaxed(evaluate, start)
            cpu_s = sum(step.cpu_s[0] for step in steps)
            self.kept[name] = Kept((final,), (cpu_s,), steps[0].version)
            self._write()
        return self.kept[name].labels[0]

    def forget(self) -> None:
        """Drop all labels on record, here and in the store, so that they are made again."""
        self.kept.clear()
        shutil.rmtree(self.directory / "store", ignore_errors=True)

    def with_spacing(self, spacing_per_A: float) -> "References":
        """Return the same with a k-point spacing for all cells (mode ``converged``)."""
        return References(
            self.loaded,
            self.file,
            self.directory,
            self.may_label,
            self.workers,
            spacing_per_A,
            self.kept,
        )

    @property
    def cpu_s(self) -> float:
        """CPU time of all labels on record."""
        return sum(sum(kept.cpu_s) for kept in self.kept.values())

    @property
    def version(self) -> str:
        """Versions of the code that labelled."""
        return ", ".join(sorted({kept.version for kept in self.kept.values()}))

    def _made(self, name: str, structures: Sequence[Structure]) -> Kept:
        if not self.may_label:
            raise CampaignError(
                f"{self.file} has no labels `{name}`, and DFT was not asked for. Make them with "
                "`--label`."
            )
        logger.info("%s: %d structures", name, len(structures))
        self.directory.mkdir(parents=True, exist_ok=True)
        records = Records(embedded_job_store(self.directory / "store"))
        documents = label_frames(
            records,
            self._campaign(),
            structures,
            source=f"validation: {name}",
            scratch=self.directory / "scratch",
            on_done=lambda done, n, reason: logger.info("%s: %d of %d %s", name, done, n, reason),
        )
        failed = [doc.reason or "?" for doc in documents if doc.status != "done"]
        if failed:
            raise LabelError(f"{len(failed)} labels of `{name}` failed: {failed[0]}")
        return Kept(
            labels=tuple(labelled_structures(records, documents)),
            cpu_s=tuple(doc.cost.cpu_s for doc in documents),
            version=documents[0].labeler_version or "?",
        )

    def _campaign(self) -> LoadedCampaign:
        campaign = self.loaded.campaign
        resources = campaign.resources.model_copy(update={"workers": self.workers})
        labels = campaign.labels.model_copy(update={"time_limit_s": 36000.0})
        if self.kpoint_spacing_per_A is not None and not isinstance(labels, AseLabels):
            rule = KPoints(mode="spacing", spacing_per_A=self.kpoint_spacing_per_A)
            labels = labels.model_copy(update={"kpoints": rule})
        changed = campaign.model_copy(update={"resources": resources, "labels": labels})
        return LoadedCampaign(self.loaded.path, changed, self.loaded.structures)

    def _write(self) -> None:
        names = [name for name, kept in self.kept.items() for _ in kept.labels]
        groups = list(self.kept.values())
        content = pack_frames(
            [label for kept in groups for label in kept.labels],
            scalars={
                "name": names,
                "cpu_s": [round(cpu_s, 1) for kept in groups for cpu_s in kept.cpu_s],
                "version": [kept.version for kept in groups for _ in kept.labels],
            },
        )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        partial = self.file.with_suffix(".part")
        partial.write_bytes(content)
        partial.replace(self.file)


def read_labels(file: Path) -> dict[str, Kept]:
    """Return the labels of a file by name."""
    frames = unpack_frames(file.read_bytes())
    names = [str(name) for name in frames.scalars["name"]]
    kept = {}
    for name in dict.fromkeys(names):
        rows = [row for row, other in enumerate(names) if other == name]
        kept[name] = Kept(
            labels=tuple(frames.labelled[row] for row in rows),
            cpu_s=tuple(float(frames.scalars["cpu_s"][row]) for row in rows),
            version=str(frames.scalars["version"][rows[0]]),
        )
    return kept


def is_same(label: LabelledStructure, structure: Structure) -> bool:
    """Return whether a label is of a structure, to ``SAME_A``."""
    known = label.structure
    return (
        known.n_atoms == structure.n_atoms
        and bool((known.numbers == structure.numbers).all())
        and np.allclose(known.cell, structure.cell, atol=SAME_A, rtol=0.0)
        and np.allclose(known.positions, structure.positions, atol=SAME_A, rtol=0.0)
    )


__all__ = ["Kept", "References", "is_same", "read_labels"]
