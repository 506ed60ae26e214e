"""What the next labels of a campaign will cost: a guess from their size, learnt from its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nepal_flows.campaign.forecast import label_seconds, reduced_kpoints
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.plan import valence_electrons
from nepal_flows.core.cost_model import CostModel, fit_cost_model
from nepal_flows.core.structure import Structure
from nepal_flows.schemas import LabelDoc


@dataclass(frozen=True)
class LabelCosts:
    """Expected costs of a campaign's labels.

    Attributes
    ----------
    campaign
        The campaign, elements filled in.
    primitive_n_atoms
        Atoms of the primitive cell.
    model
        What its labels have taught; `CostModel()` before the first.
    """

    campaign: Campaign
    primitive_n_atoms: int
    model: CostModel = field(default_factory=CostModel)

    def learnt(self, labels: Sequence[LabelDoc]) -> "LabelCosts":
        """Return the same, learnt from labels that were made."""
        made = [label for label in labels if label.cost.cpu_s > 0.0]
        model = fit_cost_model(
            np.array([self._guess(label.n_atoms, label.volume_A3) for label in made]),
            np.array([float(label.n_atoms) for label in made]),
            np.array([label.cost.cpu_s for label in made]),
        )
        return LabelCosts(self.campaign, self.primitive_n_atoms, model)

    def cpu_s(self, structure: Structure) -> float:
        """Return the expected CPU time of a structure's label, s."""
        guess = self._guess(structure.n_atoms, structure.volume)
        return self.model.cost(guess, float(structure.n_atoms))

    def _guess(self, n_atoms: int, volume: float) -> float:
        labels = self.campaign.labels
        kpoints = getattr(labels, "kpoints", None)
        n_kpoints = 1.0
        if kpoints is not None:
            n_kpoints = reduced_kpoints(
                kpoints,
                n_atoms=n_atoms,
                volume=volume,
                primitive_n_atoms=self.primitive_n_atoms,
            )
        valences = {symbol: valence_electrons(symbol) for symbol in self.campaign.model.elements}
        return label_seconds(labels, n_atoms=n_atoms, n_kpoints=n_kpoints, valences=valences)


def affordable(costs: Sequence[float], available: float) -> int:
    """Return how many of the first items fit into what is available."""
    return int(np.searchsorted(np.cumsum(costs), available, side="right"))


__all__ = ["LabelCosts", "affordable"]
