r"""A committee of potentials: what its members disagree about, as error bars of forces.

The deviation of an atom is that of GPUMD's keyword ``active``,

.. math:: s_i = \sqrt{\sigma_{ix}^2 + \sigma_{iy}^2 + \sigma_{iz}^2},

with the variances of the force over the K members (divided by K), and the score of a frame is that
of its largest atom. Members agree too much: they share data and form. So the bar of a force
component is :math:`e = c s` with c = rms(residuals of the training forces) / rms(s of the training
atoms), residuals of the first member, which is the model that is used; and R = s / rms(s of the
training atoms). Neither depends on whether variances are divided by K or K - 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.neighbours import neighbour_list
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.scoring import ForceBars
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import InputError, TrainingError
from nepal_flows.typing import FloatArray, IntArray

_ROUNDING = 1e-9  # of the forces; members that differ by less are copies


@dataclass(frozen=True, eq=False)
class Committee:
    """Potentials of one architecture, and what their disagreement means.

    Attributes
    ----------
    members
        The potentials; the first is the one that is used.
    training_deviation
        Root mean square of s over the training atoms, eV/Å.
    force_scale
        c: error bar of a force component over s.
    """

    members: tuple[NepModel, ...]
    training_deviation: float
    force_scale: float

    def deviations(self, structure: Structure) -> FloatArray:
        """Return s of every atom, eV/Å, shape (n_atoms,)."""
        return force_deviations(member_forces(self.members, structure))

    def bars(self, structure: Structure) -> ForceBars:
        """Return the error bars of a structure's forces.

        Raises
        ------
        ModelError
            If the structure holds an element that the members do not know.
        """
        deviations = self.deviations(structure)
        return ForceBars(
            forces=self.force_scale * deviations, ratios=deviations / self.training_deviation
        )


def force_deviations(forces: FloatArray) -> FloatArray:
    """Return how much several predictions of the same forces differ, eV/Å, shape (n_atoms,).

    Parameters
    ----------
    forces
        Of every member, eV/Å, shape (n_members, n_atoms, 3).

    Raises
    ------
    InputError
        If the shape is another, or there are fewer than two members.

    Examples
    --------
    >>> import numpy as np
    >>> force_deviations(np.array([[[0.0, 0.0, 3.0]], [[8.0, 0.0, -3.0]]]))
    array([5.])
    """
    if forces.ndim != 3 or forces.shape[0] < 2 or forces.shape[2] != 3:
        raise InputError(
            f"`forces` has shape {forces.shape}, expected (n_members, n_atoms, 3) with two members "
            "or more."
        )
    return np.sqrt(forces.var(axis=0).sum(axis=1))


def member_forces(members: Sequence[NepModel], structure: Structure) -> FloatArray:
    """Return the forces of every member, eV/Å, shape (n_members, n_atoms, 3)."""
    cutoff = max(member.architecture.largest_cutoff for member in members)
    neighbours = neighbour_list(structure, cutoff)
    return np.array(
        [predict(member, structure, neighbours=neighbours).forces for member in members]
    )


def calibrated_committee(
    members: Sequence[NepModel], training: Sequence[LabelledStructure], *, n_threads: int = 1
) -> Committee:
    """Return a committee whose bars are right, on the average, for the training forces.

    Parameters
    ----------
    members
        At least two; the first is the model that is used.
    training
        Labelled frames that the first was trained on.
    n_threads
        Threads over frames.

    Raises
    ------
    InputError
        If there are fewer than two members, or no frames.
    TrainingError
        If the members do not differ, so that they say nothing.
    """
    if len(members) < 2 or not training:
        raise InputError(
            f"A committee of {len(members)} on {len(training)} frames says nothing; give two "
            "members or more, and the training frames."
        )

    def sums(frame: LabelledStructure) -> tuple[float, float, float, int]:
        forces = member_forces(members, frame.structure)
        residuals = forces[0] - frame.forces
        deviations = force_deviations(forces)
        squares = (np.sum(array**2) for array in (residuals, deviations, forces[0]))
        residual, deviation, size = (float(square) for square in squares)
        return residual, deviation, size, len(deviations)

    found = np.array(map_in_threads(sums, training, n_threads))
    residual, deviation, size, n_atoms = found.sum(axis=0)
    training_deviation = float(np.sqrt(deviation / n_atoms))
    if not training_deviation > _ROUNDING * np.sqrt(size / n_atoms):
        raise TrainingError(
            f"The members of the committee differ by {training_deviation} eV/Å on the training "
            "set, and cannot tell known from unknown. Train them from different seeds, and on "
            "frames with forces."
        )
    return Committee(
        members=tuple(members),
        training_deviation=training_deviation,
        force_scale=float(np.sqrt(residual / (3.0 * n_atoms))) / training_deviation,
    )


def bootstrap_indices(
    batches: Sequence[int], structures: Sequence[Structure], *, seed: int
) -> IntArray:
    """Return the frames that a member is trained on, some of them several times, in order.

    Frames are drawn with replacement, batch by batch, so that what was drawn before stays when a
    batch is added, and a member that is trained on goes on with its own frames. Of an element that
    was not drawn, the first frame is added.

    Parameters
    ----------
    batches
        Batch of every frame.
    structures
        The frames.
    seed
        Of the member.

    Examples
    --------
    >>> import numpy as np
    >>> frames = [Structure([29], np.zeros((1, 3)), np.eye(3))] * 4
    >>> first = bootstrap_indices([0, 0, 0], frames[:3], seed=1)
    >>> both = bootstrap_indices([0, 0, 0, 1], frames, seed=1)
    >>> np.array_equal(both, [*first, 3])
    True
    """
    labels = np.asarray(batches, dtype=np.int64)
    if len(labels) != len(structures):
        raise InputError(f"There are {len(labels)} batches for {len(structures)} frames.")
    drawn: list[int] = []
    for batch in np.unique(labels):
        members = np.flatnonzero(labels == batch)
        # Seeds take no negative numbers, and batches may.
        rng = np.random.default_rng([seed, int(batch) & 0xFFFFFFFF])
        drawn += rng.choice(members, len(members)).tolist()
    held = {int(number) for index in drawn for number in structures[index].numbers}
    for index, structure in enumerate(structures):
        missing = {int(number) for number in structure.numbers} - held
        if missing:
            drawn.append(index)
            held |= missing
    return np.sort(np.array(drawn, dtype=np.int64))


__all__ = [
    "Committee",
    "bootstrap_indices",
    "calibrated_committee",
    "force_deviations",
    "member_forces",
]
