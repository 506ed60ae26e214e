"""Does this `gpumd` grade as this package does? Found out before GPU hours are spent.

One structure is graded by one step of zero length. That tells whether the program runs at all on
this machine, which form of the grading keyword it takes (versions after 5.6 want the model named
by ``nep_file``, the ones before refuse it), and whether its grades are those of the model.
"""

import dataclasses
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nepal_flows.core.active_set import ActiveSet
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.core.structure import Structure
from nepal_flows.engines.gpumd.md import (
    GRADE_TOLERANCE,
    GpumdSetup,
    check_gpumd_input,
    differing_grade,
    run_gpumd,
    write_gpumd_input,
)
from nepal_flows.engines.gpumd.program import ProgramEnd, RefusedInputError
from nepal_flows.errors import EngineError
from nepal_flows.io.gpumd_outputs import DUMP_FILE, read_dump
from nepal_flows.io.run_in import Grading, run_in_of
from nepal_flows.typing import FloatArray

logger = logging.getLogger(__name__)

_BODY = "time_step 0\nensemble nve\nrun 1\n"
_NO_STOP = 1e15


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Attributes
    ----------
    setup
        The setup with the form of the grading keyword filled in.
    version
        Version that the program names; None if it names none.
    gamma
        Largest grade of the structure, as GPUMD found it.
    difference
        Largest difference to our grades, as a share of what is tolerated.
    """

    setup: GpumdSetup
    version: str | None
    gamma: float
    difference: float


def run_self_test(
    structure: Structure,
    model: NepModel,
    active_set: ActiveSet,
    *,
    setup: GpumdSetup,
    model_sha256: str,
) -> SelfTest:
    """Grade a structure with `gpumd` and here, and return how it must be called.

    Parameters
    ----------
    structure
        What is graded.
    model, active_set, model_sha256
        A model and what belongs to it.
    setup
        The program and its GPU.

    Raises
    ------
    EngineError
        If the program does not run, or its grades differ.
    """
    check_gpumd_input(structure, model, active_set, model_sha256)
    ours = structure_grades(active_set, projection_factors(model, structure))
    refusals = []
    for names_model in (setup.names_model, not setup.names_model):
        tried = dataclasses.replace(setup, names_model=names_model)
        with tempfile.TemporaryDirectory(prefix="gpumd-test-", dir=setup.scratch) as name:
            try:
                end, theirs = _graded(structure, model, active_set, tried, Path(name))
            except RefusedInputError as error:
                refusals.append(str(error))
                continue
        difference = differing_grade(ours, theirs)
        logger.info(
            "GPUMD %s grades %.4g where %.4g was expected", end.version, theirs.max(), ours.max()
        )
        if difference > 1.0:
            raise EngineError(
                f"GPUMD {end.version or ''} gives a structure the grade {theirs.max():.4g}, the "
                f"same model here {ours.max():.4g}; up to {GRADE_TOLERANCE[0]:.0%} and "
                f"{GRADE_TOLERANCE[1]:g} may they differ. Its exploration cannot be trusted: use "
                "another version of GPUMD (4.0 or later), or `exploration.engine: native`."
            )
        return SelfTest(tried, end.version, float(theirs.max()), difference)
    raise EngineError(
        "GPUMD refuses the self-test, with and without `nep_file` in the grading keyword: "
        f"{'; '.join(dict.fromkeys(refusals))}. `compute_extrapolation` needs version 4.0 or later."
    )


def _graded(
    structure: Structure,
    model: NepModel,
    active_set: ActiveSet,
    setup: GpumdSetup,
    directory: Path,
) -> tuple[ProgramEnd, FloatArray]:
    grading = Grading(check_interval=1, gamma_high=_NO_STOP, names_model=setup.names_model)
    run_in = run_in_of(_BODY, grading=grading, seed=1, time_step_fs=1.0)
    write_gpumd_input(directory, structure, model, active_set, run_in)
    end = run_gpumd(setup, directory)
    if end.ending != "done":
        raise EngineError(f"The self-test of GPUMD failed: {end.error}.")
    frames = list(read_dump(directory / DUMP_FILE))
    if len(frames) != 1 or frames[0].grades.shape != (structure.n_atoms,):
        raise EngineError(
            f"The self-test of GPUMD wrote {len(frames)} frames where one was expected."
        )
    return end, frames[0].grades


__all__ = ["SelfTest", "run_self_test"]
