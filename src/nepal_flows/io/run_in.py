"""The input file run.in of GPUMD's `gpumd`: a user's body, with what active learning needs put in.

A body is what a user would write after the ``potential`` line. It is taken as it is, line by line;
around it go the potential, the time step and a seed of the velocities where it names none, and
before every ``run`` the grading keyword and the output of thermodynamic quantities. Keywords are
those of GPUMD 4.0 to 5.6; one that is not known here passes unless it looks like a slip.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.errors import InputError

POTENTIAL_FILE = "nep.txt"
ACTIVE_SET_FILE = "active_set.asi"

_LIST = """
    active add_efield add_force add_random_force add_spring change_box compute compute_adf
    compute_angular_rdf compute_chunk compute_cohesive compute_dos compute_dpdt compute_elastic
    compute_es compute_extrapolation compute_gkma compute_hac compute_hnema compute_hnemd
    compute_hnemdec compute_ic compute_lsqt compute_msd compute_orientorder compute_phonon
    compute_rdf compute_sdc compute_shc compute_viscosity correct_velocity deform deposit dftd3
    dump_beads dump_cg dump_dipole dump_exyz dump_force dump_netcdf dump_observer
    dump_polarizability dump_position dump_restart dump_shock_nemd dump_thermo dump_velocity
    dump_xyz electron_stop ensemble fix kspace mc minimize move plumed potential replicate run
    time_step velocity
"""

KEYWORDS = frozenset(_LIST.split())
"""Keywords of run.in."""

REFUSED = {
    "potential": "the potential is the campaign's newest model",
    "compute_extrapolation": "grading is put in before every `run`, with the campaign's settings",
    "dump_thermo": "it is put in before every `run`, every `exploration.check_interval` steps",
    "replicate": "give the size of the cell under `start`",
    "deposit": "it starts `gpumd` anew for every deposition, and grading would not survive that",
    "active": "the campaign itself chooses what is labelled",
    "dump_observer": "it needs further potentials, and grades belong to one",
}
"""Keywords that contradict what the campaign does, and why."""

_LARGEST_LINE = 32  # words that GPUMD takes
_LARGEST_INTEGER = 2**31 - 1
_STALE_GRADES = frozenset({"pimd", "rpmd", "trpmd"})
"""Ensembles whose grades belong to other positions than those that are written."""


@dataclass(frozen=True)
class Grading:
    """How a run grades itself.

    Attributes
    ----------
    check_interval
        Steps between two gradings.
    gamma_high
        Grade above which GPUMD ends the run.
    names_model
        Whether the keyword names the model (``nep_file``), as versions after 5.6 want it.
    """

    check_interval: int
    gamma_high: float
    names_model: bool = False

    @property
    def potentials(self) -> tuple[str, ...]:
        """Files of the potentials: the model alone."""
        return (POTENTIAL_FILE,)

    def lines(self) -> list[str]:
        """Return the lines to put before a ``run``; every graded frame is written."""
        model = f"nep_file {POTENTIAL_FILE} " if self.names_model else ""
        return [
            f"dump_thermo {self.check_interval}",
            f"compute_extrapolation {model}asi_file {ACTIVE_SET_FILE} gamma_low 0 gamma_high "
            f"{self.gamma_high:.10g} check_interval {self.check_interval} dump_interval 1",
        ]


@dataclass(frozen=True)
class Disagreement:
    """How a run compares the members of a committee; the first moves the atoms.

    Attributes
    ----------
    check_interval
        Steps between two comparisons.
    n_models
        Members.
    names_uncertainty
        Whether ``active`` takes five arguments, as versions from 4.4 on want it, or four.
    """

    check_interval: int
    n_models: int
    names_uncertainty: bool = True

    @property
    def potentials(self) -> tuple[str, ...]:
        """Files of the potentials, in order."""
        further = (f"nep_{number}.txt" for number in range(1, self.n_models))
        return (POTENTIAL_FILE, *further)

    def lines(self) -> list[str]:
        """Return the lines to put before a ``run``; every frame that is compared is written."""
        uncertainty = "0 " if self.names_uncertainty else ""
        return [
            f"dump_thermo {self.check_interval}",
            f"active {self.check_interval} 0 0 {uncertainty}0",
        ]


@dataclass(frozen=True)
class RunBlock:
    """One ``run`` of a run.in.

    Attributes
    ----------
    n_steps
        Its steps.
    temperature_K
        First and last target temperature; None where the ensemble has none.
    is_graded
        Whether the grading keyword stands before it.
    """

    n_steps: int
    temperature_K: tuple[float, float] | None
    is_graded: bool = True


@dataclass(frozen=True)
class RunIn:
    """A complete run.in.

    Attributes
    ----------
    text
        Its content.
    blocks
        Its runs, in order.
    potentials
        Files of the potentials that it names.
    needs_regrading
        Whether the grades that GPUMD writes may belong to other atoms than those it writes beside
        them: Monte Carlo exchanges species after grading, and path integrals grade beads.
    """

    text: str
    blocks: tuple[RunBlock, ...]
    needs_regrading: bool
    potentials: tuple[str, ...] = (POTENTIAL_FILE,)

    @property
    def n_steps(self) -> int:
        """Steps of all runs."""
        return sum(block.n_steps for block in self.blocks)


def run_in_of(
    body: str,
    *,
    grading: Grading | Disagreement,
    seed: int,
    time_step_fs: float,
    n_ungraded: int = 0,
) -> RunIn:
    """Return the complete run.in of a body.

    Parameters
    ----------
    body
        What stands after the ``potential`` line.
    grading
        How often frames are looked at, and by what.
    seed
        Of the initial velocities.
    time_step_fs
        Time step where the body names none.
    n_ungraded
        First runs that are not graded.

    Raises
    ------
    InputError
        If the body contradicts the campaign or cannot be run; the message names the line.
    """
    rows = _rows(body)
    keywords = [words[0] for _, words in rows]
    head = [f"potential {name}" for name in grading.potentials]
    if "time_step" not in keywords:
        head.append(f"time_step {time_step_fs:g}")
    velocity_seed = seed % _LARGEST_INTEGER
    temperature = _first_temperature(rows)
    if "velocity" not in keywords:
        head.append(f"velocity {temperature:g} seed {velocity_seed}")
    lines: list[str] = []
    blocks: list[RunBlock] = []
    target: tuple[float, float] | None = None
    for place, words in rows:
        line = " ".join(words)
        if words[0] == "ensemble":
            target = _target_temperature(words)
        elif words[0] == "velocity" and "seed" not in words:
            line = f"{line} seed {velocity_seed}"
        elif words[0] == "run":
            is_graded = len(blocks) >= n_ungraded
            blocks.append(RunBlock(_n_steps(words, place), target, is_graded))
            lines += grading.lines() if is_graded else [grading.lines()[0]]
        lines.append(line)
    return RunIn(
        text="\n".join([*head, *lines]) + "\n",
        blocks=tuple(blocks),
        needs_regrading="mc" in keywords
        or any(words[0] == "ensemble" and _STALE_GRADES & set(words[1:2]) for _, words in rows),
        potentials=grading.potentials,
    )


def body_steps(body: str) -> int:
    """Return the steps of all runs of a body.

    Raises
    ------
    InputError
        As :func:`run_in_of`.
    """
    return sum(_n_steps(words, place) for place, words in _rows(body) if words[0] == "run")


def _rows(body: str) -> list[tuple[str, list[str]]]:
    """Return place and words of every line that is neither blank nor a comment."""
    rows = []
    for number, line in enumerate(body.splitlines(), start=1):
        words = line.split()
        comment = next((i for i, word in enumerate(words) if word.startswith("#")), len(words))
        if words[:comment]:
            rows.append((f"line {number} of run_in, `{line.strip()}`", words[:comment]))
    for place, words in rows:
        _check_line(place, words)
    if not any(words[0] == "run" for _, words in rows):
        raise InputError("`run_in` holds no `run`: nothing would be explored. Add `run N`.")
    has_ensemble = False
    for place, words in rows:
        if words[0] == "ensemble":
            has_ensemble = True
        elif words[0] == "run":
            if not has_ensemble:
                raise InputError(f"{place}: no `ensemble` before it. Every `run` needs its own.")
            has_ensemble = False
    return rows


def _check_line(place: str, words: Sequence[str]) -> None:
    keyword = words[0]
    if keyword in REFUSED:
        raise InputError(f"{place}: remove `{keyword}`; {REFUSED[keyword]}.")
    if keyword not in KEYWORDS:
        near = difflib.get_close_matches(keyword, KEYWORDS, n=1, cutoff=0.8)
        if near:
            raise InputError(f"{place}: `{keyword}` is no keyword. Did you mean `{near[0]}`?")
    if len(words) > _LARGEST_LINE:
        raise InputError(f"{place}: {len(words)} words, GPUMD takes {_LARGEST_LINE}.")
    if keyword == "run":
        _n_steps(words, place)


def _n_steps(words: Sequence[str], place: str) -> int:
    if len(words) != 2 or not words[1].isdecimal() or not 0 < int(words[1]) <= _LARGEST_INTEGER:
        raise InputError(f"{place}: expected `run N` with a whole number of steps.")
    return int(words[1])


def _target_temperature(words: Sequence[str]) -> tuple[float, float] | None:
    """Return the target of an ``ensemble`` line, as far as its form is known."""
    style = words[1] if len(words) > 1 else ""
    position = 0
    if style.endswith("_mttk"):
        position = words.index("temp") + 1 if "temp" in words else 0
    elif style.startswith(("nvt_", "npt_")):
        position = 2
    try:
        return (float(words[position]), float(words[position + 1])) if position else None
    except (ValueError, IndexError):
        return None


def _first_temperature(rows: Sequence[tuple[str, list[str]]]) -> float:
    """Return the first target temperature, 300 K where there is none."""
    targets = (_target_temperature(words) for _, words in rows if words[0] == "ensemble")
    found = next((target for target in targets if target is not None), None)
    return 300.0 if found is None else found[0]


__all__ = [
    "ACTIVE_SET_FILE",
    "KEYWORDS",
    "POTENTIAL_FILE",
    "REFUSED",
    "Disagreement",
    "Grading",
    "RunBlock",
    "RunIn",
    "body_steps",
    "run_in_of",
]
