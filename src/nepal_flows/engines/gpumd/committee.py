"""A committee in `gpumd`: what its keyword ``active`` writes, scored as the native engine scores.

GPUMD tells the largest deviation of a frame alone, and in single precision; so the members are
evaluated again here on every frame it writes, K force calls a check. Its own numbers are compared
with ours: a program that computes something else is found out.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nepal_flows.core.committee import Committee, force_deviations, member_forces
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.scoring import BarScore, ForceBars, Scale, scored_bars
from nepal_flows.core.structure import Structure
from nepal_flows.engines.gpumd.frames import GradedFrames
from nepal_flows.errors import EngineError
from nepal_flows.io.gpumd_active import read_active
from nepal_flows.io.gpumd_outputs import DumpFrame
from nepal_flows.typing import FloatArray

DEVIATION_TOLERANCE = (0.05, 1e-3, 1e-3)
"""Difference of a deviation between GPUMD and here that is tolerated: relative, absolute (eV/Å),
and over the largest force, whose square is what single precision rounds."""

_N_COMPARED = 3


@dataclass(frozen=True, eq=False)
class CommitteeScore:
    """A committee as the criterion of a run.

    Attributes
    ----------
    committee
        Its first member is the model that moves the atoms.
    scale
        Of its scores.
    """

    committee: Committee
    scale: Scale

    @property
    def members(self) -> Sequence[NepModel]:
        """The potentials, in order."""
        return self.committee.members

    @property
    def n_models(self) -> int:
        """Number of potentials."""
        return len(self.committee.members)

    def read_frames(
        self, directory: Path, read: Callable[..., GradedFrames], *, is_comparable: bool = True
    ) -> GradedFrames:
        """Return what a run left in its directory, scored here, with what the bars expect.

        Parameters
        ----------
        directory
            Where it ran.
        read
            ``read_graded_frames`` but for its last two arguments.
        is_comparable
            Whether GPUMD's deviations are of the atoms that it writes.

        Raises
        ------
        EngineError
            If the deviations are not those of the members.
        """
        found: list[ForceBars] = []
        first: list[DumpFrame] = []

        def score(structure: Structure) -> FloatArray:
            found.append(scored_bars([BarScore(self.committee, self.scale)], structure))
            return found[-1].ratios

        def frames() -> Iterator[DumpFrame]:
            for frame in read_active(directory):
                if len(first) < _N_COMPARED:
                    first.append(frame)
                yield frame

        graded = read(regrade=score, compared=frames())
        for frame in first:
            if is_comparable and frame.is_finite:
                self._compare(frame)
        trace = dataclasses.replace(
            graded.trace,
            expected_rmse_eV_per_A=np.array([bars.force_rms for bars in found]),
            largest_bar_eV_per_A=np.array([bars.largest_force for bars in found]),
        )
        return dataclasses.replace(graded, trace=trace)

    def _compare(self, frame: DumpFrame) -> None:
        structure = Structure(frame.numbers, frame.positions, frame.cell, frame.pbc)
        ours, difference = self.difference(structure, frame.gamma)
        if difference > 1.0:
            raise EngineError(
                f"GPUMD tells a frame's largest deviation of forces as {frame.gamma:.4g} eV/Å, the "
                f"same members here as {ours:.4g}. Its version computes another one, or the GPU is "
                "faulty; nothing of this run is used."
            )

    def difference(self, structure: Structure, theirs: float) -> tuple[float, float]:
        """Return our largest deviation of a structure, eV/Å, and how far theirs is from it.

        Parameters
        ----------
        structure
            The frame.
        theirs
            Largest deviation as GPUMD tells it, eV/Å.

        Returns
        -------
        tuple
            The difference is in units of what is tolerated.
        """
        forces = member_forces(self.members, structure)
        ours, largest = float(force_deviations(forces).max()), float(np.abs(forces).max())
        relative, absolute, of_force = DEVIATION_TOLERANCE
        tolerated = absolute + relative * ours + of_force * largest
        return ours, abs(ours - theirs) / tolerated


__all__ = ["DEVIATION_TOLERANCE", "CommitteeScore"]
