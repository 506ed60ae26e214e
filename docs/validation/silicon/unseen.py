"""Which unseen frames a code is asked about, and their labels."""

import logging
from dataclasses import dataclass
from pathlib import Path

from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import CampaignError
from nepal_flows.io.frames import pack_frames, unpack_frames
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.labelers import EspressoLabeler
from silicon.references import References
from silicon.sampling import PHASES, Group, groups, model_frames, pw_frames, tersoff_frames

logger = logging.getLogger(__name__)

SHARED = Path(__file__).parent / "frames.npz"
"""Frames of the samplers that know no model: both codes label the same ones."""

CONVERGED_SPACING_PER_A = 0.3
"""k-points of cells that do not fold: 2 x 2 x 2 in the cubic cell of 64 atoms."""

SHARED_GROUPS = (
    *groups("tersoff", "2x2x2", 3),
    *groups("tersoff", "3x2x1", 1),
    *groups("tersoff", "3x3x3", 1),
    *groups("tersoff", "cubic", 1)[2:],
    Group(PHASES[-1], "2x2x2", "pw.x", 2),
)


@dataclass(frozen=True)
class Asked:
    """How many frames of every group a code labels.

    Attributes
    ----------
    shared
        By shape, at most so many of the model-free ones.
    by_model
        By shape, frames of the model's own dynamics.
    vacancies
        Cells in which the vacancy is relaxed.
    """

    shared: dict[str, int]
    by_model: dict[str, int]
    vacancies: tuple[str, ...]


ASKED = {
    "espresso": Asked(
        {"2x2x2": 3, "3x2x1": 1, "3x3x3": 1, "cubic": 1},
        {"2x2x2": 3, "3x2x1": 1, "3x3x3": 1},
        ("2x2x2", "3x3x3"),
    ),
    "cp2k": Asked(
        {"2x2x2": 3, "3x2x1": 1, "3x3x3": 1},
        {"2x2x2": 3, "3x2x1": 1, "3x3x3": 1},
        ("2x2x2",),
    ),
}
"""Cells of 12 to 54 atoms fold into the campaigns' k-points; 64 in the cubic cell do not."""


def shared_frames(references: References) -> dict[str, list[Structure]]:
    """Return the model-free frames by name; they are made where there are none yet.

    Raises
    ------
    CampaignError
        If they have to be made and DFT was not asked for, or the code is not pw.x.
    """
    if SHARED.exists():
        shared = unpack_frames(SHARED.read_bytes())
        named: dict[str, list[Structure]] = {}
        for name, structure in zip(shared.scalars["name"], shared.structures, strict=True):
            named.setdefault(str(name), []).append(structure)
        return named
    labeler = labeler_of(references.loaded.campaign, references.loaded.structures)
    if not references.may_label or not isinstance(labeler, EspressoLabeler):
        raise CampaignError(
            f"{SHARED} is missing. Make it by `--label` with the campaign of Quantum ESPRESSO."
        )
    made: dict[str, list[Structure]] = {}
    for group in SHARED_GROUPS:
        file = references.directory / "frames" / f"{group.name.replace('/', '_')}.npz"
        if not file.exists():
            logger.info("sampling %s", group.name)
            if group.sampler == "tersoff":
                frames = tersoff_frames(group)
            else:
                start = made[Group(group.phase, group.shape, "tersoff", 0).name][-1]
                frames = pw_frames(group, start, labeler, references.directory / "dynamics")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(pack_frames(frames))
        made[group.name] = list(unpack_frames(file.read_bytes()).structures)
    names = [name for name, frames in made.items() for _ in frames]
    everything = [frame for frames in made.values() for frame in frames]
    SHARED.write_bytes(pack_frames(everything, scalars={"name": names}))
    return made


def unseen_labels(
    references: References, model: NepModel, model_sha256: str
) -> dict[str, list[LabelledStructure]]:
    """Return the labels of all unseen frames of a code, by name of their group.

    Frames of the model's own dynamics are those of this very model where they are on record or
    may be labelled, else those of the model that they were last made with.

    Parameters
    ----------
    references
        The labels.
    model, model_sha256
        The campaign's model.
    """
    asked = ASKED[references.loaded.campaign.labels.code]
    labels = {}
    for name, structures in shared_frames(references).items():
        shape = name.split("/")[2]
        wanted = structures[: asked.shared.get(shape, 0)]
        if not wanted:
            continue
        source = references
        if shape == "cubic":
            source = references.with_spacing(CONVERGED_SPACING_PER_A)
        labels[name] = source(name, wanted)
    for shape, n_frames in asked.by_model.items():
        for group in groups("model", shape, n_frames):
            name = f"{group.name} {model_sha256[:8]}"
            older = [kept for kept in references.kept if kept.startswith(group.name)]
            if name not in references.kept and older and not references.may_label:
                name = older[-1]
            if name in references.kept:
                labels[name] = list(references.kept[name].labels)
                continue
            frames = model_frames(group, model)
            for outdated in older:
                del references.kept[outdated]
            if frames:
                labels[name] = references(name, frames)
    return labels


def kpoint_labels(
    references: References, labels: dict[str, list[LabelledStructure]]
) -> list[tuple[str, LabelledStructure, LabelledStructure]]:
    """Return some unseen frames with the campaign's k-points and with dense ones.

    Their difference is the error that the labels themselves have by their k-points.

    Parameters
    ----------
    references
        The labels.
    labels
        Labels with the campaign's own k-points, by name.
    """
    dense = references.with_spacing(CONVERGED_SPACING_PER_A)
    pairs = []
    for phase in (PHASES[1], PHASES[-1]):
        own = labels[f"frames/{phase.name}/2x2x2/tersoff"][0]
        (other,) = dense(f"k-points/{phase.name}", [own.structure])
        pairs.append((phase.name, own, other))
    return pairs


__all__ = ["ASKED", "CONVERGED_SPACING_PER_A", "kpoint_labels", "shared_frames", "unseen_labels"]
