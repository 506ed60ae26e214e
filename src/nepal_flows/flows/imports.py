"""Begin with what exists: labelled frames and, perhaps, a model become part of a campaign."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nepal_flows.campaign.crystal import crystal_of
from nepal_flows.campaign.nep_input import nep_input_of
from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training import fit_reference_energies
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.input_frames import Pairs, repeated_frames, require_elements
from nepal_flows.errors import InputError, LabelledDataError, ModelError
from nepal_flows.flows.registration import register_campaign
from nepal_flows.io.frames import pack_frames
from nepal_flows.io.nep_in import format_nep_in
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt
from nepal_flows.jobs.dataset import campaign_dataset, labelled_frames
from nepal_flows.jobs.labeler import label_pool, labeler_of
from nepal_flows.jobs.model_errors import errors_of
from nepal_flows.labelers import LabelOutcome, label_document, label_structures
from nepal_flows.labelers.agreement import label_agreement
from nepal_flows.records import Records, derived_key, structure_key
from nepal_flows.schemas import (
    Ancestry,
    CampaignDoc,
    Cost,
    IterationDoc,
    SelectedFrame,
    SelectionDoc,
    TrainingDoc,
)

IMPORT_CONDITION = "import"
"""Condition under which imported frames are listed."""


@dataclass(frozen=True)
class Imported:
    """What an import brought.

    Attributes
    ----------
    campaign
        The campaign.
    n_new, n_known
        Frames that are new to it, and those it had.
    n_checked
        Frames that were labelled again to compare.
    model_key
        Key of the imported model, or None.
    repeated
        Frames with one structure, as (first, repeated): they count once.
    """

    campaign: CampaignDoc
    n_new: int
    n_known: int
    n_checked: int
    model_key: str | None
    repeated: Pairs = ()


def import_frames(
    records: Records,
    loaded: LoadedCampaign,
    frames: Sequence[LabelledStructure],
    *,
    source: str,
    model_text: str | None = None,
    n_checked: int = 1,
) -> Imported:
    """Add labelled frames, and a model to start from, to a campaign.

    The frames are taken to be of the physics that the campaign's labels section describes;
    ``n_checked`` of them are labelled again, to see that they are.

    Parameters
    ----------
    records, loaded
        Where, and of which campaign.
    frames
        Labelled frames.
    source
        Where they came from, for the record.
    model_text
        A nep.txt of the campaign's architecture; the first fit starts from it.
    n_checked
        Frames to label again; 0 trusts them.

    Raises
    ------
    LabelledDataError
        If an element is not the campaign's, two labels of one structure contradict each other, a
        label differs from the campaign's labeler's, or a frame is no supercell that the campaign's
        force constants are counted from.
    ModelError
        If the model has another architecture, or the campaign's model is no NEP.
    """
    _require_elements(loaded, frames, source)
    structures = [frame.structure for frame in frames]
    if loaded.campaign.model.force_constants is not None:
        _require_supercells(loaded, structures, model_text)
    repeated = repeated_frames(structures, dict(enumerate(frames)), source=source)
    document = register_campaign(records, loaded)
    labeler = labeler_of(loaded.campaign, loaded.structures)
    _cross_check(loaded, labeler, frames, n_checked)
    known = {
        frame.structure_key
        for doc in records.query(SelectionDoc, {"campaign_id": document.key})
        for frame in doc.selected
    }
    keys = [structure_key(frame.structure) for frame in frames]
    fresh = {key: frame for key, frame in zip(keys, frames, strict=True) if key not in known}
    ancestry = Ancestry(source="import", condition=IMPORT_CONDITION, note=source)
    for frame in fresh.values():
        outcome = LabelOutcome(0, frame.structure, frame, None, (), Cost(), {})
        records.put(
            label_document(
                outcome,
                labeler=labeler,
                ancestry=ancestry,
                blobs=records.blobs,
                campaign_id=document.key,
            )
        )
    if fresh:
        records.put(_selection(records, document, fresh, source))
    model_key = None
    if model_text is not None:
        model_key = _imported_model(records, loaded, document, model_text)
    n_known = len(frames) - len(fresh)
    return Imported(document, len(fresh), n_known, n_checked, model_key, repeated)


def imported_model_key(records: Records, campaign_id: str) -> str | None:
    """Return the key of the model that a campaign starts from, or None."""
    criteria = {"campaign_id": campaign_id, "stage": "import"}
    models = records.query(TrainingDoc, criteria, sort={"created_at": -1}, limit=1)
    return next((model.key for model in models), None)


def _require_elements(
    loaded: LoadedCampaign, frames: Sequence[LabelledStructure], source: str
) -> None:
    if not frames:
        raise LabelledDataError("There is no frame to import.")
    architecture = nep_input_of(loaded.campaign).architecture
    try:
        require_elements(architecture, [frame.structure for frame in frames], source=source)
    except ModelError as error:
        raise LabelledDataError(f"This cannot be imported. {error}") from error


def _require_supercells(
    loaded: LoadedCampaign, structures: Sequence[Structure], model_text: str | None
) -> None:
    """Raise an error if something is no start for force constants."""
    if model_text is not None:
        raise ModelError(
            "A nep.txt is no start for force constants, which are solved for. Import without "
            "`--model`."
        )
    crystal = crystal_of(loaded.campaign, loaded.structures)
    for number, structure in enumerate(structures):
        try:
            crystal.basis_of(structure).displacements(structure)
        except InputError as error:
            raise LabelledDataError(f"Frame {number} cannot be imported. {error}") from error


def _cross_check(
    loaded: LoadedCampaign, labeler: Any, frames: Sequence[LabelledStructure], n_checked: int
) -> None:
    chosen = np.unique(
        np.linspace(0, len(frames) - 1, max(0, min(n_checked, len(frames)))).astype(int)
    )
    if n_checked < 1:
        return
    outcomes = label_structures(
        labeler,
        [frames[i].structure for i in chosen],
        pool=label_pool(loaded.campaign),
        time_limit_s=loaded.campaign.labels.time_limit_s,
    )
    for index, outcome in zip(chosen, outcomes, strict=True):
        if outcome.label is None:
            raise LabelledDataError(
                f"Frame {index} could not be labelled again to compare: {outcome.reason}. Give "
                "`--check 0` to import without."
            )
        agreement = label_agreement(frames[index], outcome.label)
        if not agreement.is_good:
            raise LabelledDataError(
                f"Frame {index} is not of the campaign's physics: {agreement} from what `labels` "
                f"({loaded.campaign.labels.code}) gives. Correct the `labels` section; never mix "
                "codes or settings."
            )


def _selection(
    records: Records,
    document: CampaignDoc,
    fresh: dict[str, LabelledStructure],
    source: str,
) -> SelectionDoc:
    key = derived_key("import", document.key, list(fresh))
    return SelectionDoc(
        key=key,
        campaign_id=document.key,
        iteration=_last_iteration(records, document),
        model_sha256="",
        n_candidates=len(fresh),
        budget=len(fresh),
        selected=[
            SelectedFrame(
                structure_key=name,
                role="train",
                condition=IMPORT_CONDITION,
                run_key=key,
                step=0,
                gamma=0.0,
                note=source,
            )
            for name in fresh
        ],
        frames=records.blobs.put(
            pack_frames([frame.structure for frame in fresh.values()]), "frames.npz"
        ),
    )


def _last_iteration(records: Records, document: CampaignDoc) -> int | None:
    """Return the last iteration that ended, after whose labels an import comes; None at first."""
    ended = records.rows(IterationDoc, {"campaign_id": document.key}, ["iteration"])
    return max((row["iteration"] for row in ended), default=None)


def _imported_model(
    records: Records, loaded: LoadedCampaign, document: CampaignDoc, text: str
) -> str:
    model = read_nep_txt(text)
    wanted = nep_input_of(loaded.campaign).architecture
    if model.architecture != wanted:
        raise ModelError(
            f"The model's architecture is {model.architecture}, the campaign's {wanted}. Change "
            "the `model` section to match it, or import without `--model`."
        )
    text = format_nep_txt(model)
    dataset = campaign_dataset(records, document.key, loaded.campaign)
    frames = labelled_frames(records, dataset.train)
    references = fit_reference_energies(_residuals(model, frames), model.elements)
    nep_in = format_nep_in(nep_input_of(loaded.campaign)).encode()
    key = derived_key("imported model", document.key, model_sha256(text))
    records.put(
        TrainingDoc(
            key=key,
            campaign_id=document.key,
            model_sha256=model_sha256(text),
            model=records.blobs.put(text.encode(), "nep.txt"),
            nep_in=records.blobs.put(nep_in, "nep.in"),
            history=records.blobs.put(b"", "loss.out"),
            dataset=records.blobs.put(pack_frames(frames), "frames.npz"),
            dataset_key=dataset.key,
            n_structures=len(frames),
            n_atoms=sum(frame.n_atoms for frame in frames),
            elements=list(model.elements),
            trainer="imported",
            seed=0,
            stage="import",
            reference_energies_eV=dict(references),
            training_errors=errors_of(model, frames, references),
        )
    )
    return key


def _residuals(model: NepModel, frames: Sequence[LabelledStructure]) -> list[LabelledStructure]:
    """Return the frames with the energy that the model leaves to the references."""
    predictions = predict_many(model, [frame.structure for frame in frames])
    return [
        LabelledStructure(frame.structure, frame.energy - prediction.energy, frame.forces)
        for frame, prediction in zip(frames, predictions, strict=True)
    ]


__all__ = ["IMPORT_CONDITION", "Imported", "import_frames", "imported_model_key"]
