"""What is judged: a campaign's model, active set, training frames and what it says of itself.

All of it comes from the campaign's store where that exists, and is then kept in a folder that is
small enough to be committed; from that folder alone everything can be repeated.
"""

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nepal_flows.campaign.read import LoadedCampaign
from nepal_flows.cli.locate import STORE, located_campaign
from nepal_flows.cli.report_output import write_campaign_report
from nepal_flows.core.active_set import ActiveSet, build_active_set
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import CampaignError
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.report.bundle import write_bundle
from nepal_flows.report.data import ReportData
from nepal_flows.report.loading import report_data

MODEL, TRAINING, FACTS = "nep.txt", "training.npz", "campaign.json"
_COPIED = ("nep.txt", "nep.in", "README.md")
"""Files of the export bundle that are kept."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A campaign's outcome.

    Attributes
    ----------
    model, active_set
        The delivered model, or the newest, and its active set.
    training_frames
        What it was trained on.
    facts
        What the campaign says of itself, plain JSON values; see :func:`_facts`.
    """

    model: NepModel
    active_set: ActiveSet
    training_frames: tuple[LabelledStructure, ...]
    facts: dict[str, Any]

    @property
    def references(self) -> dict[str, float]:
        """Energy of every element that was subtracted before training, eV."""
        return dict(self.facts["reference_energies_eV"])

    @property
    def gamma_low(self) -> float:
        """Grade up to which an atom is called safe."""
        return float(self.facts["gamma_low"])


def subject(loaded: LoadedCampaign, folder: Path) -> Subject:
    """Return the outcome of a campaign, from its store if it has run here, else from the folder.

    Parameters
    ----------
    loaded
        The campaign file.
    folder
        Where the outcome is kept; what the store holds replaces it.

    Raises
    ------
    CampaignError
        If there is neither.
    """
    if (loaded.directory / STORE).is_dir():
        keep_outcome(loaded, folder)
    if not (folder / FACTS).exists():
        raise CampaignError(
            f"The campaign `{loaded.campaign.name}` has not run here, and {folder} keeps no "
            f"outcome of it. Run it first: nepal run {loaded.path}"
        )
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    text = (folder / MODEL).read_text(encoding="ascii")
    model = read_nep_txt(text)
    frames = unpack_frames((folder / TRAINING).read_bytes()).labelled
    section = loaded.campaign.active_set
    active_set = build_active_set(
        [projection_factors(model, frame.structure) for frame in frames],
        model.elements,
        variant=section.variant,
        rcond=section.rcond,
        n_last_batch=facts["n_last_batch"],
        max_rank_growth=loaded.campaign.convergence.rank_growth,
        model_sha256=hashlib.sha256(text.encode("ascii")).hexdigest(),
        memory_limit_MB=loaded.campaign.resources.memory_limit_MB,
        n_threads=1,
    )
    return Subject(model, active_set, frames, facts)


def keep_outcome(loaded: LoadedCampaign, folder: Path) -> None:
    """Write model, training frames, data card, report and facts of a campaign to a folder.

    Raises
    ------
    RecordError
        If the campaign has no model yet.
    """
    located = located_campaign(loaded.path)
    records, campaign = located.records, located.campaign
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        write_bundle(records, campaign.key, temporary)
        for name in _COPIED:
            shutil.copyfile(Path(temporary) / name, folder / name)
    data = report_data(records, campaign.key, with_arrays=False)
    training = data.delivered_model
    if training is None:
        raise CampaignError(f"The campaign `{campaign.name}` has no model yet.")
    frames = unpack_frames(records.blobs.get(training.dataset)).labelled
    (folder / TRAINING).write_bytes(pack_frames(frames))
    text = json.dumps(_facts(data), indent=1, ensure_ascii=False)
    (folder / FACTS).write_text(text + "\n", encoding="utf-8")
    write_campaign_report(located, folder / "report.html", running=None)


def _facts(data: ReportData) -> dict[str, Any]:
    """Return what a campaign says of itself: end state, certificate, errors, labels, costs."""
    campaign, last, training = data.campaign, data.last, data.delivered_model
    assert training is not None
    certificate = data.certificate
    calibration = None if last is None else last.calibration
    stages: dict[str, float] = {}
    for _, costs in data.cost_by_iteration():
        for stage, cost in costs.items():
            stages[stage] = stages.get(stage, 0.0) + cost.cpu_s
    done = [label for label in data.labels if label.status == "done"]
    return {
        "name": campaign.name,
        "end_state": campaign.end_state,
        "end_reasons": campaign.end_reasons,
        "n_rounds": len(data.iterations),
        "model_sha256": training.model_sha256,
        "model_stage": training.stage,
        "is_certified": certificate is not None
        and certificate.model_sha256 == training.model_sha256,
        "certificate": None if certificate is None else certificate.model_dump(mode="json"),
        "calibration": None if calibration is None else calibration.model_dump(mode="json"),
        "reasons": [] if last is None else last.reasons,
        "gamma_low": data.gamma_low,
        "reference_energies_eV": training.reference_energies_eV,
        "n_last_batch": training.n_new_structures,
        "training_errors": training.training_errors.model_dump(mode="json"),
        "holdout_errors": None
        if last is None or last.holdout_errors is None
        else last.holdout_errors.model_dump(mode="json"),
        "n_labels": {
            "training": training.n_structures,
            "all": len(data.labels),
            "failed": len(data.labels) - len(done),
        },
        "n_atoms_labelled": sum(label.n_atoms for label in done),
        "labeler_versions": sorted({label.labeler_version or "?" for label in done}),
        "versions": campaign.versions,
        "labels_section": campaign.settings["labels"],
        "cpu_s": {stage: round(value, 1) for stage, value in stages.items()},
        "elapsed_s": data.elapsed_s(),
    }


__all__ = ["FACTS", "MODEL", "TRAINING", "Subject", "keep_outcome", "subject"]
