"""What the criterion said of atoms that a model has not seen, beside its true errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.criterion import criterion_limits
from nepal_flows.core.bayes.bars import calibration
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.scoring import scored_bars
from nepal_flows.io.asi import unpack_active_set
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.criteria import stored_bar_scores
from nepal_flows.jobs.dataset import labelled_frames
from nepal_flows.records import ChosenLabel, Records
from nepal_flows.schemas import ActiveSetDoc, ErrorBars, TrainingDoc
from nepal_flows.typing import FloatArray

_TO_MEV = 1000.0


@dataclass(frozen=True, eq=False)
class ScoresAndErrors:
    """What the criterion said of atoms that the model has not seen, and how wrong it was.

    Attributes
    ----------
    scores
        Grade, R or level, shape (n_atoms,).
    errors
        Predicted minus true forces, eV/Å, shape (n_atoms, 3).
    bars
        Error bars, eV/Å, shape (n_atoms,), the larger of two; None where the grade decides alone.
    """

    scores: FloatArray
    errors: FloatArray
    bars: FloatArray | None


def scores_and_errors(
    records: Records,
    training: TrainingDoc,
    grader: ActiveSetDoc,
    entries: Sequence[ChosenLabel],
    campaign: Campaign,
) -> ScoresAndErrors | None:
    """Return scores and true errors of the atoms of frames that the model has not seen."""
    if not entries:
        return None
    model = read_nep_txt(records.blobs.get(training.model).decode())
    frames = labelled_frames(records, tuple(entries))
    structures = [frame.structure for frame in frames]
    predictions = predict_many(model, structures)
    errors = [p.forces - frame.forces for p, frame in zip(predictions, frames, strict=True)]
    scales, levels, bars = criterion_limits(campaign).scales, [], None
    by_bars = stored_bar_scores(records, campaign, grader, model)
    if by_bars:
        found = [scored_bars(by_bars, structure) for structure in structures]
        levels.append(np.concatenate([frame.ratios for frame in found]))
        bars = np.concatenate([frame.forces for frame in found])
    if "grade" in scales:
        active_set = unpack_active_set(records.blobs.get(grader.active_set))
        grades = [structure_grades(active_set, projection_factors(model, s)) for s in structures]
        levels.append(scales["grade"].levels(np.concatenate(grades)))
    return ScoresAndErrors(np.max(levels, axis=0), np.concatenate(errors), bars)


def error_bars(found: ScoresAndErrors | None) -> ErrorBars | None:
    """Return what the bars were worth; None where there are none."""
    worth = None if found is None or found.bars is None else calibration(found.bars, found.errors)
    if found is None or found.bars is None or worth is None:
        return None
    return ErrorBars(
        n_atoms=worth.n_atoms,
        factor=worth.factor,
        within_one=worth.within_one,
        within_two=worth.within_two,
        expected_force_rmse_meV_per_A=_TO_MEV * float(np.sqrt(np.mean(found.bars**2))),
        force_rmse_meV_per_A=_TO_MEV * float(np.sqrt(np.mean(found.errors**2))),
        is_sound=worth.is_sound,
    )


def bar_warnings(bars: ErrorBars | None) -> list[str]:
    """Return what is wrong with error bars, in sentences."""
    if bars is None or bars.is_sound:
        return []
    return [
        f"Error bars were wrong by a factor of {bars.factor:.2g} on unseen frames; "
        "0.5 to 2 is sound."
    ]


__all__ = ["ScoresAndErrors", "bar_warnings", "error_bars", "scores_and_errors"]
