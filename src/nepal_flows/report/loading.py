"""Read from the records what one report is made of."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

import numpy as np

from nepal_flows.campaign import Campaign
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training.reference_energies import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.force_constants.crystal import CrystalFit
from nepal_flows.errors import RecordError
from nepal_flows.io.frames import unpack_arrays, unpack_frames
from nepal_flows.io.nep_outputs import LOSS_COLUMNS
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.force_constants.fit import stored_fit
from nepal_flows.records import Records, chosen_labels
from nepal_flows.report.crystal import crystal_facts
from nepal_flows.report.data import Dataset, GradeTrace, LossHistory, ParityPoints, ReportData
from nepal_flows.report.fragments import fragment_views
from nepal_flows.report.reading import Reader, age, is_waiting, keys_of, stored_campaign
from nepal_flows.schemas import (
    ActiveSetDoc,
    BlobRef,
    CampaignDoc,
    CarvingDoc,
    Document,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectedFrame,
    SelectionDoc,
    TrainingDoc,
    ValidationDoc,
)
from nepal_flows.typing import AnyArray, FloatArray

DocT = TypeVar("DocT", bound=Document)
P = ParamSpec("P")
T = TypeVar("T")


def report_data(
    records: Records,
    campaign_id: str,
    *,
    with_arrays: bool = True,
    is_running: bool | None = None,
    n_threads: int = 1,
) -> ReportData:
    """Return everything on record about one campaign.

    Parameters
    ----------
    records
        Where it is kept.
    campaign_id
        Which campaign.
    with_arrays
        Read and predict what figures need.
    is_running
        Whether a process holds the campaign's lock, if the caller knows.
    n_threads
        Threads for the predictions of the parity plots.

    Raises
    ------
    RecordError
        If there is no such campaign. Whatever else is missing or damaged is named in
        ``missing``.
    """
    campaign = stored_campaign(records, campaign_id)
    data = _documents(Reader(records), campaign, is_running)
    return _with_arrays(data, Reader(records), n_threads) if with_arrays else data


def _documents(reader: Reader, campaign: CampaignDoc, is_running: bool | None) -> ReportData:
    name = campaign.key
    iterations = reader.of_campaign(IterationDoc, name, ())
    models = reader.of_campaign(
        TrainingDoc, name, keys_of([campaign.final_model_key], (i.model_key for i in iterations))
    )
    active_sets = reader.of_campaign(
        ActiveSetDoc,
        name,
        keys_of([campaign.final_active_set_key], (i.active_set_key for i in iterations)),
    )
    explorations = reader.of_campaign(
        ExplorationDoc, name, (key for i in iterations for key in i.exploration_keys)
    )
    selections = reader.of_campaign(SelectionDoc, name, (i.selection_key for i in iterations))
    validations = reader.of_campaign(ValidationDoc, name, keys_of([campaign.validation_key]))
    return ReportData(
        campaign=campaign,
        iterations=tuple(iterations),
        models=tuple(models),
        active_sets=tuple(active_sets),
        explorations=tuple(explorations),
        selections=tuple(selections),
        carvings=tuple(reader.of_campaign(CarvingDoc, name, ())),
        labels=_labels(reader.records, campaign),
        validations=tuple(validations),
        generated_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        is_running=is_running,
        is_waiting=is_waiting(reader.records, campaign, selections),
        missing=tuple(reader.missing),
    )


def _labels(records: Records, campaign: CampaignDoc) -> tuple[LabelDoc, ...]:
    """Return the labels the campaign asked for, with the role and iteration it gave them.

    A label may have been made by another campaign: it is found by its structure and physics.
    """
    chosen = chosen_labels(records, campaign.key, campaign.fixed["labels"])
    labels = [_as_chosen(entry.label, entry.frame, entry.iteration) for entry in chosen]
    return tuple(sorted(labels, key=age))


def _as_chosen(label: LabelDoc, frame: SelectedFrame, iteration: int | None) -> LabelDoc:
    ancestry = label.ancestry.model_copy(
        update={"condition": frame.condition, "gamma": frame.gamma, "step": frame.step}
    )
    return label.model_copy(
        update={"role": frame.role, "iteration": iteration, "ancestry": ancestry}
    )


def _with_arrays(data: ReportData, reader: Reader, n_threads: int) -> ReportData:
    model = data.delivered_model
    histories: list[LossHistory] = []
    parity: list[ParityPoints] = []
    nep_in, crystal = "", None
    if model is not None:
        kind = "the final fit" if model.stage == "final" else f"the fit of round {model.iteration}"
        if model.history is not None and model.nep_in is not None:
            loss = reader.attempt(
                "The training history", _loss, reader.records, model.history, kind
            )
            histories = [loss] if loss is not None else []
            nep_in = reader.attempt("nep.in", _text, reader.records, model.nep_in) or ""
        else:
            crystal = reader.attempt("The crystal", crystal_facts, reader.records, data, model)
        parity = _parity(reader, data, model, n_threads)
    traces = _traces(reader, data.explorations)
    fragments = fragment_views(reader, data) if data.carvings else []
    return ReportData(
        **{
            **vars(data),
            "histories": tuple(histories),
            "parity": tuple(parity),
            "traces": tuple(traces),
            "fragments": tuple(fragments),
            "nep_in": nep_in,
            "crystal": crystal,
            "missing": (*data.missing, *reader.missing),
        }
    )


def _loss(records: Records, history: BlobRef, label: str) -> LossHistory:
    text = _text(records, history)
    values = np.loadtxt(io.StringIO(text), ndmin=2) if text.strip() else np.zeros((0, 0))
    if values.shape[1] != len(LOSS_COLUMNS):
        raise RecordError(
            f"The history has {values.shape[1]} columns instead of {len(LOSS_COLUMNS)}."
        )
    return LossHistory(label, LOSS_COLUMNS, values)


def _traces(reader: Reader, runs: Sequence[ExplorationDoc]) -> list[GradeTrace]:
    """Return the traces of the newest round that was explored."""
    newest = max((run.iteration or 0 for run in runs), default=0)
    traces = []
    for run in runs:
        trace = run.trace
        if trace is None or (run.iteration or 0) != newest:
            continue
        what = f"The grades of {run.condition}, replica {run.replica}"
        arrays = reader.attempt(what, _arrays, reader.records, trace)
        if arrays is not None and {"step", "gamma"} <= set(arrays):
            steps = np.asarray(arrays["step"], dtype=np.float64)
            grades = np.asarray(arrays["gamma"], dtype=np.float64)
            traces.append(GradeTrace(run.condition, run.replica, newest, steps, grades))
    return traces


def _parity(
    reader: Reader, data: ReportData, document: TrainingDoc, n_threads: int
) -> list[ParityPoints]:
    """Return references and predictions of the delivered model on all data sets on record."""
    model = reader.attempt("Parity", _model, reader.records, document, data.campaign)
    if model is None:
        return []
    holdout = [d.frame for d in data.labels if d.role == "holdout" and d.status == "done"]
    validation = data.validation
    tested = [validation.parity] if validation and validation.parity else []
    wanted: list[tuple[Dataset, list[BlobRef]]] = [
        ("train", [document.dataset]),
        ("holdout", holdout),
        ("validation", tested),
    ]
    points = []
    for name, blobs in wanted:
        what = f"Parity of the {name} frames"
        frames = reader.attempt(what, _frames, reader.records, blobs)
        if frames:
            references = document.reference_energies_eV
            made = reader.attempt(
                what, parity_points, name, model, frames, references, n_threads=n_threads
            )
            points += [made] if made is not None else []
    return points


def _text(records: Records, blob: BlobRef) -> str:
    return records.blobs.get(blob).decode()


def _model(records: Records, document: TrainingDoc, campaign: CampaignDoc) -> NepModel | CrystalFit:
    if document.nep_in is not None:
        return read_nep_txt(_text(records, document.model))
    settings = Campaign.model_validate(campaign.settings)
    return stored_fit(records, document, settings, campaign.key)


def _arrays(records: Records, blob: BlobRef) -> dict[str, AnyArray]:
    return unpack_arrays(records.blobs.get(blob))


def _frames(records: Records, blobs: Sequence[BlobRef]) -> list[LabelledStructure]:
    return [frame for b in blobs for frame in unpack_frames(records.blobs.get(b)).labelled]


def parity_points(
    dataset: Dataset,
    model: NepModel | CrystalFit,
    frames: Sequence[LabelledStructure],
    references: dict[str, float],
    *,
    n_threads: int = 1,
) -> ParityPoints:
    """Return references and predictions of a model on labelled frames.

    Parameters
    ----------
    dataset
        Which data set the frames are.
    model, frames
        The potential, and what it is compared with; at least one frame.
    references
        Energy of every element that was subtracted before training, eV.
    n_threads
        Threads of the prediction.
    """
    structures = [frame.structure for frame in frames]
    if isinstance(model, NepModel):
        predictions = predict_many(model, structures, n_threads=n_threads)
        energies = [prediction.energy for prediction in predictions]
        predicted_forces = [prediction.forces for prediction in predictions]
    else:
        energies = [model.energy(s) - reference_energy(s, references) for s in structures]
        predicted_forces = [model.forces(structure) for structure in structures]
    n_atoms = np.array([frame.n_atoms for frame in frames], dtype=np.float64)
    reference = np.array([f.energy - reference_energy(f.structure, references) for f in frames])
    forces: list[FloatArray] = [frame.forces for frame in frames]
    return ParityPoints(
        dataset=dataset,
        reference_energies=reference / n_atoms,
        predicted_energies=np.array(energies) / n_atoms,
        reference_forces=np.concatenate(forces),
        predicted_forces=np.concatenate(predicted_forces),
    )


__all__ = ["parity_points", "report_data"]
