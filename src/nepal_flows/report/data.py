"""What a report is made of: the stored documents of one campaign, and a few small arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from nepal_flows.core.carving.regions import Region
from nepal_flows.core.structure import Structure
from nepal_flows.report.totals import Totals
from nepal_flows.report.words import ScoreWords, score_words
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    CarvingDoc,
    Certificate,
    Cost,
    Document,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
    ValidationDoc,
)
from nepal_flows.typing import FloatArray

Dataset = Literal["train", "holdout", "validation"]
"""Where labelled frames come from: trained on, held out, or fresh trajectories of the teacher."""


@dataclass(frozen=True, eq=False)
class ParityPoints:
    """Reference and predicted values of the delivered model on one data set.

    Attributes
    ----------
    dataset
        Which data set.
    reference_energies, predicted_energies
        Per frame, shape (n_frames,), eV/atom, both without the atomic reference energies.
    reference_forces, predicted_forces
        Per atom, shape (n_atoms, 3), eV/Å.
    """

    dataset: Dataset
    reference_energies: FloatArray
    predicted_energies: FloatArray
    reference_forces: FloatArray
    predicted_forces: FloatArray

    @property
    def force_rmse_meV_per_A(self) -> float:
        """Root mean square over force components."""
        return 1000.0 * float(
            np.sqrt(np.mean((self.predicted_forces - self.reference_forces) ** 2))
        )


@dataclass(frozen=True, eq=False)
class LossHistory:
    """How one training went.

    Attributes
    ----------
    label
        Which training, in words: "iteration 3", "final fit".
    columns
        Names of the columns; the first is the step.
    values
        Shape (n_rows, n_columns).
    """

    label: str
    columns: tuple[str, ...]
    values: FloatArray

    def column(self, name: str) -> FloatArray | None:
        """Return one column by name, None if the training did not record it."""
        return self.values[:, self.columns.index(name)] if name in self.columns else None


@dataclass(frozen=True, eq=False)
class GradeTrace:
    """Grade along one exploration run.

    Attributes
    ----------
    condition, replica, iteration
        Which run.
    steps
        MD step of every check, shape (n_checks,).
    grades
        Largest grade of the frame, shape (n_checks,).
    """

    condition: str
    replica: int
    iteration: int
    steps: FloatArray
    grades: FloatArray


@dataclass(frozen=True, eq=False)
class FragmentView:
    """An accepted fragment of the newest round with what surrounds its centre in the parent.

    Attributes
    ----------
    document
        Its proof.
    region
        Surroundings of the centre in the parent.
    structure
        The fragment.
    grades, parent_grades
        Of its atoms, shape (n_atoms,).
    """

    document: CarvingDoc
    region: Region
    structure: Structure
    grades: FloatArray
    parent_grades: FloatArray


@dataclass(frozen=True, eq=False)
class CrystalFacts:
    """What delivered force constants say of their crystal.

    Attributes
    ----------
    anharmonicity
        Share of the labels' forces that the second order misses, by condition.
    points
        Names of special points of the primitive cell.
    frequencies_THz
        At rest, shape (n_points, n_branches); imaginary ones are negative.
    """

    anharmonicity: dict[str, float]
    points: tuple[str, ...]
    frequencies_THz: FloatArray


@dataclass(frozen=True, eq=False)
class ReportData:
    """Everything one report page is built from; all but the campaign itself may be missing.

    Attributes
    ----------
    campaign
        The campaign as it was asked for, and where it stands.
    iterations
        Its iterations in order.
    models, active_sets, explorations, selections, carvings, labels, validations
        Documents of every stage, in the order they were written.
    parity, histories, traces
        Small arrays for the figures.
    fragments
        Fragments of the newest round that are drawn.
    nep_in
        Text of the delivered model's nep.in.
    crystal
        Of delivered force constants; None where the model is a NEP.
    generated_at
        When the page was built, as text.
    is_running
        Whether a process holds the campaign's lock; None if that is not known.
    is_waiting
        Whether the newest selection waits for a person's approval before it is labelled.
    missing
        What should have been in the store and was not, in sentences.
    totals
        What the campaign adds up to, where labels and earlier iterations were not loaded.
    """

    campaign: CampaignDoc
    iterations: tuple[IterationDoc, ...] = ()
    models: tuple[TrainingDoc, ...] = ()
    active_sets: tuple[ActiveSetDoc, ...] = ()
    explorations: tuple[ExplorationDoc, ...] = ()
    selections: tuple[SelectionDoc, ...] = ()
    carvings: tuple[CarvingDoc, ...] = ()
    labels: tuple[LabelDoc, ...] = ()
    validations: tuple[ValidationDoc, ...] = ()
    parity: tuple[ParityPoints, ...] = ()
    histories: tuple[LossHistory, ...] = ()
    traces: tuple[GradeTrace, ...] = ()
    fragments: tuple[FragmentView, ...] = ()
    nep_in: str = ""
    crystal: CrystalFacts | None = None
    generated_at: str = ""
    is_running: bool | None = None
    is_waiting: bool = False
    missing: tuple[str, ...] = ()
    totals: Totals | None = None

    @property
    def documents(self) -> tuple[Document, ...]:
        """All documents it is made of."""
        groups = (
            self.iterations,
            self.models,
            self.active_sets,
            self.explorations,
            self.selections,
            self.carvings,
            self.labels,
            self.validations,
        )
        return (self.campaign, *(document for group in groups for document in group))

    @property
    def last(self) -> IterationDoc | None:
        """The newest iteration that ended."""
        return self.iterations[-1] if self.iterations else None

    @property
    def certificate(self) -> Certificate | None:
        """The certificate of the newest iteration, if it gave one."""
        return self.last.certificate if self.last else None

    @property
    def delivered_model(self) -> TrainingDoc | None:
        """The model the campaign delivers: the final one, else that of the newest iteration."""
        by_key = {model.key: model for model in self.models}
        wanted = [self.campaign.final_model_key, self.last.model_key if self.last else None]
        for key in wanted:
            if key is not None and key in by_key:
                return by_key[key]
        return self.models[-1] if self.models else None

    @property
    def validation(self) -> ValidationDoc | None:
        """The newest validation of the delivered model, else of any."""
        model = self.delivered_model
        matching = [v for v in self.validations if model and v.model_sha256 == model.model_sha256]
        candidates = matching or list(self.validations)
        return candidates[-1] if candidates else None

    @property
    def score(self) -> ScoreWords:
        """What tells known from unknown surroundings in this campaign."""
        asked = self.campaign.settings.get("selection") or {}
        return score_words(asked.get("criterion"))

    @property
    def gamma_low(self) -> float | None:
        """Score up to which an atom is called safe."""
        if self.certificate is not None:
            return self.certificate.gamma_low
        if self.explorations:
            return self.explorations[-1].gamma_low
        asked = (self.campaign.settings.get("exploration") or {}).get("gamma_low")
        return float(asked) if asked is not None else None

    @property
    def elements(self) -> list[str]:
        """Chemical symbols of the campaign, as far as its documents tell."""
        model = self.delivered_model
        if model is not None:
            return list(model.elements)
        return sorted({symbol for label in self.labels for symbol in label.elements})

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the order they appear."""
        names = [v.condition for iteration in self.iterations for v in iteration.conditions]
        names += [run.condition for run in self.explorations]
        return list(dict.fromkeys(names))

    def parity_of(self, dataset: Dataset) -> ParityPoints | None:
        """Return the parity points of one data set, None if there are none."""
        found = [
            points
            for points in self.parity
            if points.dataset == dataset and len(points.reference_forces)
        ]
        return found[0] if found else None

    def cost_by_iteration(self) -> list[tuple[str, dict[str, Cost]]]:
        """Return the cost of every stage: the start, the iterations in order, the end.

        The start is the labels of the seeds. The end is what the delivered model took beyond the
        iterations: its own fit, its active set, the test against the teacher.
        """
        rows = [("start", self._start_cost())]
        rows += [
            (
                str(doc.iteration),
                {name.replace("_", " "): cost for name, cost in doc.costs.items()},
            )
            for doc in self.iterations
        ]
        rows.append(("end", self._end_cost()))
        spent = [(name, {k: c for k, c in costs.items() if c.wall_s > 0}) for name, costs in rows]
        return [(name, costs) for name, costs in spent if costs]

    def _start_cost(self) -> dict[str, Cost]:
        own = (None, self.campaign.key)
        seeds = [d.cost for d in self.labels if d.iteration is None and d.campaign_id in own]
        making = [doc.cost for doc in self.selections if doc.iteration is None]
        return {"seed": total_cost(making), "label": total_cost(seeds)}

    def _end_cost(self) -> dict[str, Cost]:
        counted = {doc.model_key for doc in self.iterations}
        counted |= {doc.active_set_key for doc in self.iterations if doc.active_set_key}
        delivered = {self.campaign.final_model_key, self.campaign.final_active_set_key} - counted
        return {
            "train": total_cost(doc.cost for doc in self.models if doc.key in delivered),
            "active set": total_cost(doc.cost for doc in self.active_sets if doc.key in delivered),
            "validate": total_cost(doc.cost for doc in self.validations),
        }

    def total_cost(self) -> Cost:
        """Return the cost of everything that is on record."""
        if self.totals is not None:
            making = [doc.cost for doc in self.selections if doc.iteration is None]
            return total_cost([self.totals.cost, *making, *self._end_cost().values()])
        return total_cost(
            cost for _, stages in self.cost_by_iteration() for cost in stages.values()
        )

    @property
    def n_iterations(self) -> int:
        """Iterations that ended."""
        return len(self.iterations) if self.totals is None else self.totals.n_iterations

    @property
    def n_atoms_labelled(self) -> int:
        """Atoms in labels that are done."""
        if self.totals is not None:
            return self.totals.n_atoms
        return sum(doc.n_atoms for doc in self.labels if doc.status == "done")

    def elapsed_s(self) -> float | None:
        """Return the time from the campaign's beginning to its newest document, pauses too."""
        groups = (self.iterations, self.models, self.explorations, self.labels, self.validations)
        texts = [doc.created_at for group in groups for doc in group]
        texts += [self.totals.newest] if self.totals is not None else []
        stamps = [_seconds(text) for text in texts]
        begun = _seconds(self.campaign.created_at)
        known = [stamp for stamp in stamps if stamp is not None]
        return max(known) - begun if known and begun is not None and max(known) > begun else None


def _seconds(stamp: str) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp()
    except ValueError:
        return None


def total_cost(costs: Iterable[Cost]) -> Cost:
    """Return the sum of several costs."""
    costs = list(costs)
    return Cost(
        wall_s=sum(cost.wall_s for cost in costs),
        cpu_s=sum(cost.cpu_s for cost in costs),
        gpu_s=sum(cost.gpu_s for cost in costs),
    )
