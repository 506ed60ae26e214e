"""Before the first labels of a campaign in small cells: do cells of two sizes agree?"""

import tempfile
from dataclasses import dataclass

from jobflow import job

from nepal_flows.campaign.small_cells import SmallCellsSection
from nepal_flows.campaign.structures import check_sample
from nepal_flows.core.structure import Structure
from nepal_flows.errors import LabelError
from nepal_flows.jobs.labeler import campaign_labeler, label_pool
from nepal_flows.jobs.progress import report_progress
from nepal_flows.jobs.stage import STAGE, StageMaker, starting_structures
from nepal_flows.labelers import Labeler
from nepal_flows.labelers.replicas import replica_difference, replica_repeats
from nepal_flows.records import Records, derived_key, made_once, structure_key
from nepal_flows.schemas import Cost, ReplicaDoc

_TO_MEV = 1000.0


@dataclass
class ReplicaMaker(StageMaker):
    """Compare a rattled cell with its supercell; refuse labels whose sizes do not agree."""

    name: str = "check replicas"

    @job(config=STAGE, output_schema=ReplicaDoc)
    def make(self, campaign_id: str) -> ReplicaDoc:
        """Return how far a cell and its supercell disagree.

        Raises
        ------
        LabelError
            If they disagree by more than `small_cells` allows, or a label fails.
        """
        records = Records.current()
        labeler, settings = campaign_labeler(records, self.campaign, campaign_id)
        sample = check_sample(self.campaign, starting_structures(records, campaign_id)[0])
        key = derived_key("replica", settings, structure_key(sample))
        document = made_once(
            records, ReplicaDoc, key, lambda: self._document(key, campaign_id, labeler, sample)
        )
        assert self.campaign.small_cells is not None
        problem = replica_problem(document, self.campaign.small_cells)
        if problem is not None:
            raise LabelError(problem)
        return document

    def _document(
        self, key: str, campaign_id: str, labeler: Labeler, sample: Structure
    ) -> ReplicaDoc:
        report_progress("check replicas", 0, 1)
        repeats = replica_repeats(sample, getattr(labeler, "kpoints", None))
        with tempfile.TemporaryDirectory() as scratch:
            found = replica_difference(
                labeler,
                sample,
                repeats,
                pool=label_pool(self.campaign, preload=("nepal_flows.labelers",)),
                time_limit_s=self.campaign.labels.time_limit_s,
                scratch=scratch,
            )
        report_progress("check replicas", 1, 1, f"{_TO_MEV * found.energy:.3g} meV/atom")
        return ReplicaDoc(
            key=key,
            campaign_id=campaign_id,
            labeler=labeler.name,
            n_atoms=found.n_atoms[0],
            n_atoms_supercell=found.n_atoms[1],
            repeats=list(repeats),
            energy_difference_meV_per_atom=_TO_MEV * found.energy,
            force_difference_meV_per_A=_TO_MEV * found.force,
            cost=Cost(wall_s=round(found.wall_s, 3), cpu_s=round(found.cpu_s, 3)),
        )


def replica_problem(document: ReplicaDoc, limits: SmallCellsSection) -> str | None:
    """Return why cells of two sizes must not stand in one data set, or None."""
    energy, force = document.energy_difference_meV_per_atom, document.force_difference_meV_per_A
    if energy <= limits.replica_energy_meV_per_atom and force <= limits.replica_force_meV_per_A:
        return None
    return (
        f"A cell of {document.n_atoms} atoms and its supercell of {document.n_atoms_supercell} "
        f"differ by {energy:.3g} meV/atom and {force:.3g} meV/Å; "
        f"{limits.replica_energy_meV_per_atom:g} and {limits.replica_force_meV_per_A:g} are "
        "allowed. Labels of small cells would teach the difference: make `labels.kpoints` denser "
        "(`spacing_per_A`), or use mode `folded`."
    )


__all__ = ["ReplicaMaker", "replica_problem"]
