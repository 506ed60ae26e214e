"""Carving: fragments of the large cells that exploration met, instead of the cells."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jobflow import job

from nepal_flows.campaign.carving import CarvingSection
from nepal_flows.core.carving.carve import Carving, carve
from nepal_flows.core.carving.clashes import Composition
from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.carving.regions import AtomBins
from nepal_flows.core.elements import atomic_number
from nepal_flows.core.nep.model import NepModel
from nepal_flows.engines.carving_centres import CentreRules
from nepal_flows.engines.carving_frames import CarvedFrames, carve_frames
from nepal_flows.errors import CarvingError
from nepal_flows.io.asi import unpack_active_set
from nepal_flows.io.extxyz_stream import StreamedFrame
from nepal_flows.io.formulas import parsed_bonds, parsed_formula
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, graded_model
from nepal_flows.jobs.timing import Stopwatch
from nepal_flows.records import Records, derived_key, derived_seed, made_once, structure_key
from nepal_flows.schemas import (
    ActiveSetDoc,
    BlobRef,
    CampaignState,
    CarvingRoundDoc,
    ExplorationDoc,
    carving_document,
)
from nepal_flows.typing import FloatArray

MORE_THAN_NEEDED = 1.5
"""Fragments carved over the labels of an iteration: some are refused."""

Place = tuple[ExplorationDoc, int]
"""The run and the step of a frame."""


@dataclass
class CarveMaker(StageMaker):
    """Carve the large cells among the candidates and audit frames of a round."""

    name: str = "carve"

    @job(config=STAGE, output_schema=CarvingRoundDoc)
    def make(
        self, state: CampaignState, active_set_key: str, exploration_keys: list[list[str]]
    ) -> CarvingRoundDoc:
        """Return what was carved, and where the fragments are.

        Parameters
        ----------
        state
            Which campaign and iteration.
        active_set_key
            Active set that graded the runs.
        exploration_keys
            Keys of the runs, bundle by bundle.
        """
        records = Records.current()
        section = self.campaign.carving
        runs = [records.load(ExplorationDoc, k) for bundle in exploration_keys for k in bundle]
        large = [run for run in runs if section.carves(run.n_atoms)]
        asked = (section.model_dump(mode="json"), self.campaign.selection.labels_per_iteration)
        key = derived_key("carving round", state.campaign_id, [run.key for run in large], *asked)
        return made_once(
            records,
            CarvingRoundDoc,
            key,
            lambda: self._document(records, key, state, active_set_key, large),
        )

    def _document(
        self,
        records: Records,
        key: str,
        state: CampaignState,
        active_set_key: str,
        runs: Sequence[ExplorationDoc],
    ) -> CarvingRoundDoc:
        watch = Stopwatch()
        report_progress("carve", 0, 1)
        grader = records.load(ActiveSetDoc, active_set_key)
        model = read_nep_txt(records.blobs.get(graded_model(records, grader).model).decode())
        inverses = unpack_active_set(records.blobs.get(grader.active_set)).inverses
        places: list[Place] = []
        carved = carve_frames(
            _frames(records, runs, "candidates", places),
            model,
            inverses,
            rules=self._rules(),
            options=carving_options(self.campaign.carving),
            seed=derived_seed(self.campaign.seed, "carve", state.iteration),
            n_threads=self.campaign.resources.workers,
            progress=partial(report_progress, "carve"),
        )
        audit = self._audit(records, state, runs, model, inverses)
        keys = self._stored(records, key, state, grader, carved, places)
        return CarvingRoundDoc(
            key=key,
            campaign_id=state.campaign_id,
            iteration=state.iteration,
            model_sha256=grader.model_sha256,
            active_set_key=active_set_key,
            run_keys=[run.key for run in runs],
            carving_keys=keys,
            n_frames=carved.n_frames,
            n_unknown_atoms=carved.n_unknown,
            n_centres=carved.n_centres,
            n_accepted=len(carved.accepted),
            refused=carved.refused,
            fragments=_packed(records, carved, places, audit),
            cost=watch.cost(),
        )

    def _rules(self) -> CentreRules:
        selection, exploration = self.campaign.selection, self.campaign.exploration
        return CentreRules(
            threshold=selection.threshold,
            budget=int(np.ceil(MORE_THAN_NEEDED * selection.labels_per_iteration)),
            per_frame=self.campaign.carving.centres_per_frame,
            min_distance_factor=exploration.gate.min_distance_factor,
        )

    def _stored(
        self,
        records: Records,
        round_key: str,
        state: CampaignState,
        grader: ActiveSetDoc,
        carved: CarvedFrames,
        places: Sequence[Place],
    ) -> list[str]:
        """Store the proof of every fragment; return the keys."""
        keys = []
        for number, fragment in enumerate(carved.fragments):
            run, step = places[fragment.centre.frame]
            key = derived_key("carving", round_key, number)
            kept = fragment.carving
            document = carving_document(
                fragment,
                key=key,
                campaign_id=state.campaign_id,
                iteration=state.iteration,
                model_sha256=grader.model_sha256,
                active_set_key=grader.key,
                run_key=run.key,
                condition=run.condition,
                step=step,
                options=self.campaign.carving.model_dump(mode="json"),
                structure_key=None if kept is None else structure_key(kept.fragment.structure),
            )
            records.put(document)
            keys.append(key)
        return keys

    def _audit(
        self,
        records: Records,
        state: CampaignState,
        runs: Sequence[ExplorationDoc],
        model: NepModel,
        inverses: FloatArray,
    ) -> list[tuple[Place, Carving]]:
        """Return a fragment around one atom drawn at random of every audit frame."""
        places: list[Place] = []
        options = dataclasses.replace(carving_options(self.campaign.carving), method="searched")
        found = []
        for frame in _frames(records, runs, "audit", places):
            place = places[frame.index]
            seed = derived_seed(
                self.campaign.seed, "audit centre", state.iteration, place[0].key, place[1]
            )
            rng = np.random.default_rng(seed)
            atom = int(rng.integers(frame.structure.n_atoms))
            bins = AtomBins(frame.structure, frame.grades)
            try:
                kept = carve(partial(bins.region, atom), model, inverses, options=options, rng=rng)
            except CarvingError:
                continue  # another audit frame is drawn in its place
            found.append((place, kept))
        return found


def carving_options(section: CarvingSection) -> CarvingOptions:
    """Return the options of the numerics that a campaign file asks for."""
    bonds: dict[tuple[int, int], float] = {}
    for pair, length in section.bonds_A.items():
        bonds |= parsed_bonds(f"{pair}:{length}")
    return CarvingOptions(
        method=section.method,
        core_radius=section.core_radius_A,
        max_atoms=section.max_atoms,
        vacuum=section.vacuum_A,
        composition=Composition(
            formula=parsed_formula(section.formula) if section.formula else {},
            charges={atomic_number(s): charge for s, charge in section.charges_e.items()},
        ),
        bonds=bonds,
        warm=section.warm,
    )


def _frames(
    records: Records, runs: Sequence[ExplorationDoc], name: str, places: list[Place]
) -> Iterator[StreamedFrame]:
    """Yield the large frames of runs, run by run, and note where each is from."""
    for run in runs:
        reference: BlobRef | None = getattr(run, name)
        if reference is None:
            continue
        frames = unpack_frames(records.blobs.get(reference))
        for index, structure in enumerate(frames.structures):
            places.append((run, int(frames.scalars["step"][index])))
            yield StreamedFrame(len(places) - 1, structure, frames.arrays["gamma"][index])


def _packed(
    records: Records,
    carved: CarvedFrames,
    places: Sequence[Place],
    audit: Sequence[tuple[Place, Carving]],
) -> BlobRef | None:
    """Store accepted fragments and those of audit frames as frames of the runs they come from."""
    rows: list[tuple[Place, Carving, float, bool]] = [
        (places[f.centre.frame], f.carving, f.grade_when_chosen, False)
        for f in carved.accepted
        if f.carving is not None
    ]
    rows += [(place, kept, kept.fidelity.parent_centre_grade, True) for place, kept in audit]
    if not rows:
        return None
    content = pack_frames(
        [kept.fragment.structure for _, kept, _, _ in rows],
        scalars={
            "run": [place[0].key for place, _, _, _ in rows],
            "step": [place[1] for place, _, _, _ in rows],
            "gamma": [gamma for _, _, gamma, _ in rows],
            "audit": [is_audit for _, _, _, is_audit in rows],
        },
        arrays={
            "gamma": [kept.fidelity.grades for _, kept, _, _ in rows],
            "gamma_parent": [kept.fidelity.parent_grades for _, kept, _, _ in rows],
            "parent_atom": [kept.fragment.parents for _, kept, _, _ in rows],
            "is_core": [kept.fragment.is_core for _, kept, _, _ in rows],
        },
    )
    return records.blobs.put(content, "frames.npz")


__all__ = ["CarveMaker", "carving_options"]
