"""Whether a round's model predicts forces that are too small, from labels it has not seen."""

from collections.abc import Sequence

import numpy as np

from nepal_flows.core.force_bias import ForceSlope, force_bias, small_force_share
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.jobs.dataset import Dataset, labelled_frames
from nepal_flows.records import ChosenLabel, Records
from nepal_flows.schemas import ForceBiasPart, SlopePart, TrainingDoc

_TO_MEV = 1000.0


def measured_force_bias(
    records: Records, training: TrainingDoc, dataset: Dataset, new: Sequence[ChosenLabel]
) -> ForceBiasPart:
    """Return the bias of a model's forces, and how many of its training atoms have none.

    Parameters
    ----------
    records
        Where labels and models are.
    training
        The model.
    dataset
        All labels; what is held out is what it is tested on.
    new
        Labels that it had not seen, tested on where nothing is held out yet. They are the hardest
        frames of their round, so their slopes say less.
    """
    forces = [frame.forces for frame in labelled_frames(records, dataset.train)]
    conditions = [entry.frame.condition for entry in dataset.train]
    shares = {
        name: small_force_share(
            np.concatenate([f for f, c in zip(forces, conditions, strict=True) if c == name])
        )
        for name in sorted(set(conditions))
    }
    share = small_force_share(np.concatenate(forces)) if forces else 0.0
    unseen = dataset.holdout or tuple(new)
    counted = ForceBiasPart(small_force_share=share, small_force_share_by_condition=shares)
    if not unseen:
        return counted
    model = read_nep_txt(records.blobs.get(training.model).decode())
    frames = labelled_frames(records, tuple(unseen))
    predictions = predict_many(model, [frame.structure for frame in frames])
    bias = force_bias(
        np.concatenate([frame.forces for frame in frames]),
        np.concatenate([prediction.forces for prediction in predictions]),
        [e.frame.condition for e, f in zip(unseen, frames, strict=True) for _ in range(f.n_atoms)],
    )
    if bias is None:
        return counted
    return counted.model_copy(
        update={
            "whole": _part(bias.whole),
            "by_magnitude": [_part(part) for part in bias.by_magnitude],
            "by_condition": [_part(part) for part in bias.by_condition],
            "tested_on": "hold-out" if dataset.holdout else "new labels",
        }
    )


def _part(slope: ForceSlope) -> SlopePart:
    return SlopePart(
        name=slope.name,
        n_atoms=slope.n_atoms,
        mean_force_meV_per_A=_TO_MEV * slope.mean_force,
        slope=slope.slope,
        standard_error=slope.standard_error,
        is_biased=slope.is_biased,
    )


__all__ = ["measured_force_bias"]
