"""What delivered force constants say of their crystal, for the report."""

from nepal_flows.campaign import Campaign
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.engines.force_constants.analysis import (
    anharmonicity,
    phonon_frequencies,
    phonon_supercell,
    special_points,
)
from nepal_flows.io.frames import unpack_frames
from nepal_flows.jobs.force_constants.fit import stored_fit
from nepal_flows.records import Records
from nepal_flows.report.data import CrystalFacts, ReportData
from nepal_flows.schemas import TrainingDoc


def crystal_facts(records: Records, data: ReportData, document: TrainingDoc) -> CrystalFacts:
    """Return frequencies at rest, and how anharmonic the labelled frames of every condition are.

    Parameters
    ----------
    records, data
        Of the campaign.
    document
        The delivered force constants.
    """
    settings = Campaign.model_validate(data.campaign.settings)
    fit = stored_fit(records, document, settings, data.campaign.key)
    frames: dict[str, list[LabelledStructure]] = {}
    for label in data.labels:
        if label.status == "done":
            (frame,) = unpack_frames(records.blobs.get(label.frame)).labelled
            frames.setdefault(label.ancestry.condition or "seed", []).append(frame)
    smallest = min((f.structure for own in frames.values() for f in own), key=lambda s: s.n_atoms)
    one = fit.at(smallest)
    points = special_points(one.basis)
    return CrystalFacts(
        anharmonicity={name: anharmonicity(fit, own) for name, own in sorted(frames.items())},
        points=tuple(points),
        frequencies_THz=phonon_frequencies(
            fit.posterior.parameters,
            one.basis,
            list(points.values()),
            repeats=phonon_supercell(one.basis),
        ),
    )


__all__ = ["crystal_facts"]
