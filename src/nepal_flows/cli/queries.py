"""What `nepal query` asks the store."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from nepal_flows.cli.locate import Located
from nepal_flows.core.elements import atomic_number
from nepal_flows.errors import InputError
from nepal_flows.records import ChosenLabel, chosen_keys, chosen_labels
from nepal_flows.records.chosen import label_rows as stored_rows
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    CommitteeDoc,
    Document,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    MemberDoc,
    PosteriorDoc,
    ReplicaDoc,
    SelectedFrame,
    SelectionDoc,
    TrainingDoc,
    ValidationDoc,
)

KINDS: dict[str, type[Document]] = {
    document.kind: document
    for document in (
        ActiveSetDoc,
        CampaignDoc,
        CommitteeDoc,
        ExplorationDoc,
        IterationDoc,
        LabelDoc,
        MemberDoc,
        PosteriorDoc,
        ReplicaDoc,
        SelectionDoc,
        TrainingDoc,
        ValidationDoc,
    )
}
"""Documents by the name of their kind."""

_STAGES: tuple[tuple[str, type[Document]], ...] = (
    ("train", TrainingDoc),
    ("active set", ActiveSetDoc),
    ("posterior", PosteriorDoc),
    ("committee", CommitteeDoc),  # its cost holds that of its members
    ("explore", ExplorationDoc),
    ("select", SelectionDoc),
    ("label", LabelDoc),
    ("validate", ValidationDoc),
)


@dataclass(frozen=True)
class LabelFilter:
    """Which labels to list; None asks for all.

    Attributes
    ----------
    elements
        All of these must be present.
    iteration
        The iteration that asked for it; -1 for the seeds.
    condition, role
        Where it was found; "train" or "holdout".
    failed
        Whether only quarantined ones are meant.
    gamma_min, gamma_max
        Bounds of the grade when found.
    """

    elements: tuple[str, ...] = ()
    iteration: int | None = None
    condition: str | None = None
    role: str | None = None
    failed: bool = False
    gamma_min: float | None = None
    gamma_max: float | None = None

    def check(self) -> None:
        """Raise unless every value can be asked for.

        Raises
        ------
        InputError
            If an element or a role is unknown.
        """
        for symbol in self.elements:
            atomic_number(symbol)
        if self.role not in (None, "train", "holdout"):
            raise InputError(f"`--role` is `{self.role}`, expected `train` or `holdout`.")

    def asks_for(self, frame: SelectedFrame, iteration: int | None) -> bool:
        """Return whether a frame that an iteration chose is asked for."""
        return (
            self.iteration in (None, -1 if iteration is None else iteration)
            and self.condition in (None, frame.condition)
            and self.role in (None, frame.role)
        )

    def matches(self, label: Mapping[str, Any]) -> bool:
        """Return whether a label is asked for, of those whose frames are."""
        gamma = label["ancestry"]["gamma"]
        return (
            set(self.elements) <= set(label["elements"])
            and (not self.failed or label["status"] == "quarantined")
            and (self.gamma_min is None or (gamma is not None and gamma >= self.gamma_min))
            and (self.gamma_max is None or (gamma is not None and gamma <= self.gamma_max))
        )


def campaign_labels(located: Located) -> list[ChosenLabel]:
    """Return the labels of a campaign in the order of choice, those that others made too."""
    campaign = located.campaign
    return chosen_labels(located.records, campaign.key, str(campaign.fixed["labels"]))


def label_rows(located: Located, wanted: LabelFilter, *, limit: int = 0) -> list[dict[str, Any]]:
    """Return the labels of a campaign that match, in the order of choice, as flat rows.

    Raises
    ------
    InputError
        If an element or a role is unknown.
    """
    wanted.check()
    records, campaign = located.records, located.campaign
    asked = chosen_keys(records, campaign.key, str(campaign.fixed["labels"]))
    asked = {key: one for key, one in asked.items() if wanted.asks_for(*one)}
    labels = stored_rows(records, campaign.key, asked, _FIELDS)
    rows = (
        _label_row(labels[key], *one)
        for key, one in asked.items()
        if key in labels and wanted.matches(labels[key])
    )
    return list(islice(rows, limit or None))


_FIELDS = (
    "key",
    "formula",
    "elements",
    "n_atoms",
    "status",
    "ancestry",
    "energy_eV",
    "force_max_eV_per_A",
    "pressure_GPa",
    "labeler",
    "cost",
    "reason",
)


def _label_row(
    label: Mapping[str, Any], frame: SelectedFrame, iteration: int | None
) -> dict[str, Any]:
    return {
        "key": label["key"],
        "iteration": iteration,
        "formula": label["formula"],
        "n_atoms": label["n_atoms"],
        "role": frame.role,
        "status": label["status"],
        "source": label["ancestry"]["source"],
        "condition": frame.condition,
        "step": label["ancestry"]["step"],
        "gamma": label["ancestry"]["gamma"],
        "energy_eV": label.get("energy_eV"),
        "force_max_eV_per_A": label.get("force_max_eV_per_A"),
        "pressure_GPa": label.get("pressure_GPa"),
        "labeler": label["labeler"],
        "wall_s": label["cost"]["wall_s"],
        "cpu_s": label["cost"]["cpu_s"],
        "reason": label.get("reason"),
    }


def ancestry(located: Located, start: str) -> dict[str, dict[str, Any] | None]:
    """Return where a label came from: run, model, label inputs and cost.

    Parameters
    ----------
    located
        The campaign.
    start
        The label's key, or the beginning of it.

    Raises
    ------
    InputError
        If no label, or more than one, begins so.
    """
    found = [
        chosen
        for chosen in campaign_labels(located)
        if chosen.label.key.startswith(start) or chosen.label.structure_key.startswith(start)
    ]
    if len(found) != 1:
        raise InputError(
            f"{len(found)} labels of `{located.campaign.name}` begin with `{start}`. Give a key "
            "that `nepal query labels` lists, or more of it."
        )
    label, frame = found[0].label, found[0].frame
    origin = label.ancestry
    run = origin.run_key and located.records.find(ExplorationDoc, origin.run_key)
    model = None
    if origin.model_sha256:
        criteria = {"model_sha256": origin.model_sha256}
        model = next(located.records.query(TrainingDoc, criteria, limit=1), None)
    return {
        "label": {
            "key": label.key,
            "structure_key": label.structure_key,
            "formula": label.formula,
            "role": frame.role,
            "status": label.status,
            "reason": label.reason,
            "iteration": found[0].iteration,
            "chosen for": frame.condition,
            "made": label.created_at,
        },
        "origin": dict(origin.model_dump()),
        "run": None
        if not run
        else {
            "condition": run.condition,
            "replica": run.replica,
            "iteration": run.iteration,
            "seed": run.seed,
            "outcome": run.outcome,
            "finished_steps": run.finished_steps,
            "gamma_max": run.gamma_max,
        },
        "model": None
        if model is None
        else {
            "key": model.key,
            "sha256": model.model_sha256,
            "iteration": model.iteration,
            "n_structures": model.n_structures,
            "dataset_key": model.dataset_key,
            "seed": model.seed,
        },
        "labelled by": {
            "labeler": label.labeler,
            "version": label.labeler_version,
            "settings_key": label.settings_key,
            "inputs": json.dumps(label.inputs, ensure_ascii=False),
            "attempts": len(label.attempts),
            "wall_s": label.cost.wall_s,
            "cpu_s": label.cost.cpu_s,
        },
    }


def cost_rows(located: Located) -> list[dict[str, Any]]:
    """Return elapsed, CPU and GPU time of a campaign by stage, the sum last."""
    rows: list[dict[str, Any]] = []
    for stage, document in _STAGES:
        costs = [
            doc["cost"]
            for doc in located.records.rows(
                document, {"campaign_id": located.campaign.key}, properties=["cost"]
            )
        ]
        if costs:
            rows.append(
                {
                    "stage": stage,
                    "documents": len(costs),
                    "wall_s": float(sum(cost["wall_s"] for cost in costs)),
                    "cpu_s": float(sum(cost["cpu_s"] for cost in costs)),
                    "gpu_s": float(sum(cost.get("gpu_s", 0.0) for cost in costs)),
                }
            )
    columns = ("documents", "wall_s", "cpu_s", "gpu_s")
    sums = {name: sum(row[name] for row in rows) for name in columns}
    return [*rows, {"stage": "total", **sums}]


def document_rows(
    located: Located, kind: str, where: str, *, fields: str | None, limit: int
) -> Iterator[dict[str, Any]]:
    """Yield documents of any kind as plain values.

    Raises
    ------
    InputError
        If the kind is unknown or the criteria are not a JSON object.
    """
    if kind not in KINDS:
        raise InputError(f"`{kind}` is no kind of document; there are {', '.join(sorted(KINDS))}.")
    try:
        criteria = json.loads(where)
    except json.JSONDecodeError as error:
        raise InputError(f"`--where` is not JSON ({error}): {where}") from error
    if not isinstance(criteria, dict):
        raise InputError(f'`--where` is `{where}`, expected an object such as `{{"role": ..}}`.')
    criteria = {"campaign_id": located.campaign.key, **criteria}
    wanted = None if fields is None else [name.strip() for name in fields.split(",")]
    yield from located.records.rows(KINDS[kind], criteria, wanted, limit=limit)


__all__ = ["KINDS", "LabelFilter", "ancestry", "cost_rows", "document_rows", "label_rows"]
