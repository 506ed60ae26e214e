"""The comparison: fragments of every method, models trained on them, errors on unseen parents.

Every stage leaves a file in the folder of its system; what is there is not made again.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from carving.systems import KINDS, System, base_set, hot_set, medium_cells, parent
from nepal_flows.core.active_set import build_active_set
from nepal_flows.core.carving.carve import carve
from nepal_flows.core.carving.centres import grades_in_blocks, greedy_centres
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.nep.training import TrainingSettings
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.native_training import run_native_training
from nepal_flows.errors import CarvingError
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt

logger = logging.getLogger(__name__)

ARMS: dict[str, CarvingOptions] = {
    "isolated": CarvingOptions(method="isolated"),
    "naive": CarvingOptions(method="naive"),
    "searched": CarvingOptions(method="searched", max_enlargements=0),
    "healed": CarvingOptions(method="healed", warm=False, max_enlargements=0),
    "healed, warm": CarvingOptions(method="healed", max_enlargements=0),
}
"""Methods that are compared; every fragment that can be cut is taken, accepted or not."""

THRESHOLD = 5.0


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done.

    Attributes
    ----------
    per_parent
        Centres of each parent.
    labelled_atoms
        Atoms that every arm may label.
    steps
        Of a training.
    seeds
        Of the networks.
    """

    per_parent: int = 5
    labelled_atoms: int = 2400
    steps: int = 1200
    seeds: tuple[int, ...] = (0, 1, 2)


class Study:
    """One system."""

    def __init__(self, system: System, folder: Path, size: Size) -> None:
        self.system, self.folder, self.size = system, folder, size
        self.teacher = system.teacher()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, Any]:
        """Return what was found, making what is missing."""
        base = self._frames("base", lambda: base_set(self.system, self.teacher, 0))
        hot = self._frames("hot", lambda: hot_set(self.system, self.teacher))
        sampler = self._model("sampler", [*base, *hot], 0)
        first = self._model("first", base, 0)
        parents = [
            self._frames(f"{role}-{kind}", partial(self._parent, kind, sampler, seed))[0]
            for role, seed in (("parent", 11), ("unseen", 23))
            for kind in KINDS
        ]
        known, unseen = parents[: len(KINDS)], parents[len(KINDS) :]
        inverses = build_active_set(
            [projection_factors(first, f.structure) for f in base], first.elements
        ).inverses
        grades = [
            self._array(f"grades-{name}-{kind}", partial(_graded, frame, first, inverses))
            for name, frames in (("parent", known), ("unseen", unseen))
            for kind, frame in zip(KINDS, frames, strict=True)
        ]
        fidelity, added = {}, {"nothing": []}
        for arm in ARMS:
            added[arm], fidelity[arm] = self._fragments(
                arm, known, grades[: len(KINDS)], first, inverses
            )
        n_medium = max(1, self.size.labelled_atoms // 256)
        added["bulk cells"] = self._frames(
            "medium",
            lambda: [self.teacher(s) for s in medium_cells(self.system, sampler, n_medium, 5)],
        )
        errors = {}
        for seed in self.size.seeds:
            for arm, frames in added.items():
                model = self._model(f"{arm}-{seed}", [*base, *frames], seed)
                errors[f"{arm}/{seed}"] = self._errors(
                    f"{arm}-{seed}", model, unseen, grades[len(KINDS) :]
                )
        return {
            "system": self.system.name,
            "parents": [frame.n_atoms for frame in parents],
            "unknown": [float((g >= THRESHOLD).mean()) for g in grades],
            "labelled": {arm: _labelled(frames) for arm, frames in added.items()},
            "fidelity": fidelity,
            "errors": errors,
        }

    def _parent(self, kind: str, sampler: NepModel, seed: int) -> list[LabelledStructure]:
        return [self.teacher(parent(self.system, kind, sampler, seed))]

    def _fragments(
        self,
        arm: str,
        parents: Sequence[LabelledStructure],
        grades: Sequence[np.ndarray],
        model: NepModel,
        inverses: np.ndarray,
    ) -> tuple[list[LabelledStructure], list[dict[str, Any]]]:
        """Return an arm's labelled fragments within the budget, and what each kept."""
        path = self.folder / f"fragments-{arm.replace(', ', '-')}.json"
        frames_path = path.with_suffix(".npz")
        if not path.exists():
            self._carve_all(arm, parents, grades, model, inverses, path, frames_path)
        kept = json.loads(path.read_text())
        frames = unpack_frames(frames_path.read_bytes()).labelled
        chosen, n_atoms = [], 0
        for frame in frames:
            if n_atoms + frame.n_atoms > self.size.labelled_atoms:
                break
            chosen.append(frame)
            n_atoms += frame.n_atoms
        return chosen, kept

    def _carve_all(
        self,
        arm: str,
        parents: Sequence[LabelledStructure],
        grades: Sequence[np.ndarray],
        model: NepModel,
        inverses: np.ndarray,
        path: Path,
        frames_path: Path,
    ) -> None:
        frames, rows, n_atoms = [], [], 0
        reach = 1.5 * model.architecture.largest_cutoff
        bins = [AtomBins(p.structure, g) for p, g in zip(parents, grades, strict=True)]
        centres = [
            greedy_centres(
                b, g, threshold=THRESHOLD, exclusion=reach, max_centres=self.size.per_parent
            )
            for b, g in zip(bins, grades, strict=True)
        ]
        for turn in range(self.size.per_parent):
            for which, own in enumerate(centres):
                if turn >= len(own) or n_atoms > self.size.labelled_atoms:
                    continue
                row = self._carved(
                    arm, parents[which], bins[which], int(own[turn]), model, inverses
                )
                if row is not None:
                    frame, kept = row
                    frames.append(frame)
                    n_atoms += frame.n_atoms
                    rows.append({"kind": KINDS[which], **kept})
        logger.info("%s: %d fragments, %d atoms", arm, len(frames), sum(f.n_atoms for f in frames))
        frames_path.write_bytes(pack_frames(frames))
        path.write_text(json.dumps(rows, indent=1))

    def _carved(
        self,
        arm: str,
        whole: LabelledStructure,
        bins: AtomBins,
        centre: int,
        model: NepModel,
        inverses: np.ndarray,
    ) -> tuple[LabelledStructure, dict[str, Any]] | None:
        began = time.process_time()
        source = partial(bins.region, centre)
        rng = np.random.default_rng(centre)
        try:
            found = carve(source, model, inverses, options=ARMS[arm], rng=rng)
        except CarvingError as error:
            logger.info("%s: atom %d: %s", arm, centre, error)
            return None
        cpu = time.process_time() - began
        fragment, kept = found.fragment, found.fidelity
        frame = self.teacher(fragment.structure)
        change = np.linalg.norm(frame.forces - whole.forces[fragment.parents], axis=1)
        near = fragment.is_core & (
            np.linalg.norm(fragment.structure.positions - fragment.structure.positions[0], axis=1)
            < 3.4
        )
        near[0] = False
        return frame, {
            "atoms": fragment.n_atoms,
            "cpu_s": round(cpu, 2),
            "accepted": found.is_accepted,
            "grade": kept.centre_grade,
            "boundary": kept.boundary_grade_mean,
            "parent_boundary": kept.parent_boundary_grade_mean,
            "excess": kept.excess_share,
            "log_excess": kept.log_excess,
            "model_centre": kept.centre_force_change,
            "model_shell": kept.shell_force_change,
            "centre": float(change[0]),
            "shell": float(np.sqrt((change[near] ** 2).mean())) if near.any() else 0.0,
            "boundary_force_rms": float(np.sqrt((frame.forces[~fragment.is_core] ** 2).mean())),
            "nearest": kept.smallest_distance,
            "removed": kept.n_removed,
            "rattle": found.rattle,
        }

    def _errors(
        self,
        name: str,
        model: NepModel,
        unseen: Sequence[LabelledStructure],
        grades: Sequence[np.ndarray],
    ) -> dict[str, float]:
        path = self.folder / f"errors-{name.replace(', ', '-')}.json"
        if not path.exists():
            squares, defects, found = [], [], {}
            for kind, frame, own in zip(KINDS, unseen, grades, strict=True):
                square = (predict(model, frame.structure).forces - frame.forces) ** 2
                unknown = own >= THRESHOLD
                squares.append(square)
                defects.append(square[unknown])
                found[kind] = 1e3 * float(np.sqrt(square[unknown].mean()))
            found["all"] = 1e3 * float(np.sqrt(np.concatenate(squares).mean()))
            found["defects"] = 1e3 * float(np.sqrt(np.concatenate(defects).mean()))
            logger.info("%s: %s", name, {k: round(v) for k, v in found.items()})
            path.write_text(json.dumps(found))
        return json.loads(path.read_text())

    def _frames(
        self, name: str, make: Callable[[], list[LabelledStructure]]
    ) -> list[LabelledStructure]:
        path = self.folder / f"{name}.npz"
        if not path.exists():
            frames = make()
            logger.info(
                "%s: %d frames, %d atoms", name, len(frames), sum(f.n_atoms for f in frames)
            )
            path.write_bytes(pack_frames(frames))
        return list(unpack_frames(path.read_bytes()).labelled)

    def _array(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        if not path.exists():
            np.save(path, make())
        return np.load(path)

    def _model(self, name: str, frames: Sequence[LabelledStructure], seed: int) -> NepModel:
        folder = self.folder / f"model-{name.replace(', ', '-')}"
        if not (folder / "nep.txt").exists():
            settings = TrainingSettings(n_adam_steps=self.size.steps)
            run_native_training(
                self.system.nep, list(frames), out_directory=folder, settings=settings, seed=seed,
                overwrite=True,
            )  # fmt: skip
        return read_nep_txt(folder / "nep.txt")


def _graded(frame: LabelledStructure, model: NepModel, inverses: np.ndarray) -> np.ndarray:
    return grades_in_blocks(AtomBins(frame.structure), model, inverses)


def _labelled(frames: Sequence[LabelledStructure]) -> dict[str, float]:
    atoms = np.array([frame.n_atoms for frame in frames], dtype=float)
    return {
        "frames": len(frames),
        "atoms": float(atoms.sum()),
        "cubes": float((atoms**3).sum()),
        "volume": float(sum(frame.structure.volume for frame in frames)),
    }


__all__ = ["ARMS", "Size", "Study"]
