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
from nepal_flows.engines.gpumd.committee import CommitteeScore
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
from nepal_flows.io.gpumd_active import CHECKS_FILE, read_deviations
from nepal_flows.io.gpumd_outputs import DUMP_FILE, read_dump
from nepal_flows.io.run_in import Disagreement, Grading, run_in_of
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
        The setup with the form of the keyword filled in.
    version
        Version that the program names; None if it names none.
    gamma
        Largest grade of the structure, or largest deviation (eV/Å), as GPUMD found it.
    difference
        Largest difference to ours, as a share of what is tolerated.
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
    committee: CommitteeScore | None = None,
) -> SelfTest:
    """Score a structure with `gpumd` and here, and return how it must be called.

    Parameters
    ----------
    structure
        What is graded.
    model, active_set, model_sha256
        A model and what belongs to it.
    setup
        The program and its GPU.
    committee
        Whose deviations are compared instead of grades, where it scores the runs.

    Raises
    ------
    EngineError
        If the program does not run, or its grades or deviations differ.
    """
    check_gpumd_input(structure, model, active_set, model_sha256)
    if committee is not None:
        return _compared(structure, committee, setup)
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


def _compared(structure: Structure, committee: CommitteeScore, setup: GpumdSetup) -> SelfTest:
    """Return what the members' deviation in `gpumd` told, and the form of the keyword."""
    refusals = []
    for names_uncertainty in (setup.names_uncertainty, not setup.names_uncertainty):
        tried = dataclasses.replace(setup, names_uncertainty=names_uncertainty)
        watch = Disagreement(1, committee.n_models, names_uncertainty)
        run_in = run_in_of(_BODY, grading=watch, seed=1, time_step_fs=1.0)
        with tempfile.TemporaryDirectory(prefix="gpumd-test-", dir=setup.scratch) as name:
            directory = Path(name)
            write_gpumd_input(directory, structure, committee.members, None, run_in)
            try:
                end = _ended(tried, directory)
            except RefusedInputError as error:
                refusals.append(str(error))
                continue
            rows = read_deviations(directory / CHECKS_FILE)
        if len(rows) != 1:
            raise EngineError(
                f"The self-test of GPUMD wrote {len(rows)} rows of active.out, one was expected."
            )
        ours, difference = committee.difference(structure, float(rows[0]))
        logger.info("GPUMD %s: deviation %.4g eV/Å, expected %.4g", end.version, rows[0], ours)
        if not difference <= 1.0:
            raise EngineError(
                f"GPUMD {end.version or ''} tells a committee's largest deviation of forces as "
                f"{rows[0]:.4g} eV/Å, the same members here as {ours:.4g}. Its exploration cannot "
                "be trusted: use another version of GPUMD, or `exploration.engine: native`."
            )
        return SelfTest(tried, end.version, float(rows[0]), difference)
    raise EngineError(
        "GPUMD refuses the self-test, with four and with five arguments of `active`: "
        f"{'; '.join(dict.fromkeys(refusals))}. Use a version that has the keyword, or "
        "`exploration.engine: native`."
    )


def _ended(setup: GpumdSetup, directory: Path) -> ProgramEnd:
    end = run_gpumd(setup, directory)
    if end.ending != "done":
        raise EngineError(f"The self-test of GPUMD failed: {end.error}.")
    return end


def _graded(
    structure: Structure,
    model: NepModel,
    active_set: ActiveSet,
    setup: GpumdSetup,
    directory: Path,
) -> tuple[ProgramEnd, FloatArray]:
    grading = Grading(check_interval=1, gamma_high=_NO_STOP, names_model=setup.names_model)
    run_in = run_in_of(_BODY, grading=grading, seed=1, time_step_fs=1.0)
    write_gpumd_input(directory, structure, [model], active_set, run_in)
    end = _ended(setup, directory)
    frames = list(read_dump(directory / DUMP_FILE))
    if len(frames) != 1 or frames[0].grades.shape != (structure.n_atoms,):
        raise EngineError(
            f"The self-test of GPUMD wrote {len(frames)} frames where one was expected."
        )
    return end, frames[0].grades


__all__ = ["SelfTest", "run_self_test"]
