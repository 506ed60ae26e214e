"""Fresh trajectories of a labeler, as a task for another process."""

from typing import Any

from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.teacher_md import run_teacher_md
from nepal_flows.labelers.ase_calculator import AseLabeler


def run_teacher(
    labeler: AseLabeler, structure: Structure, options: dict[str, Any]
) -> list[LabelledStructure]:
    """Return labelled frames of a trajectory that a labeler's calculator drives.

    Parameters
    ----------
    labeler
        Whose calculator is used.
    structure
        Where the trajectory begins.
    options
        Arguments of :func:`run_teacher_md`.

    Raises
    ------
    EngineError
        If the calculator fails or the trajectory explodes.
    """
    return run_teacher_md(structure, labeler.calculator_object(), **options)


__all__ = ["run_teacher"]
