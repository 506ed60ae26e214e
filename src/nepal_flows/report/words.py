"""How numbers, states and criteria read, on the page and in the terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nepal_flows.schemas import Errors

NONE = "–"
"""Stands where there is no value."""

CRITERIA = {
    "conditions_clean": "every condition clean, several rounds running, on fresh seeds",
    "new_label_errors": "new labels predicted about as well as those trained on",
    "expected_errors": "errors that the bars expect",
    "holdout_steady": "error on the hold-out steady",
    "rank_saturated": "rank of every element saturated",
    "confirmed": "all of it confirmed in a larger cell with unused seeds",
}
"""What each check of an iteration asks, by its name in the document."""

REFUSALS = {
    "above_ceiling": "grade so high that the structure is broken",
    "below_threshold": "grade below the threshold",
    "covered": "covered by an earlier choice",
    "forceless": "too many atoms without force by symmetry",
    "near_duplicate_of_labelled": "nearly equal to a labelled frame",
    "near_duplicate_of_selected": "nearly equal to one just chosen",
    "not_finite": "not finite",
    "not_in_active_set": "not in the active set",
    "over_budget": "over the budget",
    "rejected_by_gate": "physics gate",
}
"""Why a candidate was refused, by the name in the document."""

PHASE_WORDS = {"seed": "start", "loop": "loop", "confirmation": "confirmation"}

OUTCOME_WORDS = {
    "finished": "finished",
    "stopped_by_grade": "stopped at a high grade",
    "stopped_by_gate": "stopped by the physics gate",
    "not_finite": "numbers no longer finite",
    "out_of_memory": "out of memory",
    "killed": "killed from outside",
    "timed_out": "stopped at its time limit",
    "crashed": "crashed",
}


@dataclass(frozen=True)
class ScoreWords:
    """What the page calls the number that tells known from unknown surroundings.

    Attributes
    ----------
    name
        In a sentence.
    symbol
        In tables and on axes.
    explained
        For the list of words.
    """

    name: str
    symbol: str
    explained: str

    @property
    def named(self) -> str:
        """Name and symbol, as for an axis."""
        return f"{self.name} {self.symbol}"

    @property
    def title(self) -> str:
        """The name, as a sentence begins with it."""
        return self.name[0].upper() + self.name[1:]


GRADE = ScoreWords(
    "grade",
    "γ",
    "How far an atom's surroundings lie outside what the model was trained on. At "
    "most 1 inside the active set; above the threshold the model extrapolates. It detects new "
    "surroundings; it is not an error in eV/Å.",
)

RATIO = ScoreWords(
    "relative error bar",
    "R",
    "The Bayesian error bar of an atom's force over what it is in training: around 1 for "
    "surroundings like those of the training set. Above the threshold they count as unknown.",
)

SPREAD = ScoreWords(
    "relative spread",
    "R",
    "How much the members of the committee disagree about an atom's force over what they do in "
    "training: around 1 for surroundings like those of the training set. Above the threshold they "
    "count as unknown.",
)

LEVEL = ScoreWords(
    "level",
    "λ",
    "The largest score of an atom by any of the campaign's criteria, on one scale: 1 is the "
    "threshold of each. Above it the surroundings count as unknown.",
)


def score_words(criterion: object) -> ScoreWords:
    """Return the words for the score of a campaign's criterion, as its file gives it."""
    if isinstance(criterion, (list, tuple)):
        return LEVEL
    return {"bayes": RATIO, "committee": SPREAD}.get(str(criterion), GRADE)


def glossary(score: ScoreWords) -> tuple[tuple[str, str], ...]:
    """Return the words of the page, each explained in a sentence or two."""
    return (
        (
            "Teacher",
            "The method that labels: it gives the reference energy, forces and virial of a "
            "structure. All errors here are differences from it; its own errors are not seen.",
        ),
        (
            "Label",
            "One structure with the energy, forces and virial of the teacher. Hold-out labels "
            "are never trained on, only tested against.",
        ),
        (f"{score.title} {score.symbol}", score.explained),
        (
            "Active set",
            "The training environments that span all others best, picked per element. "
            "Grades are measured against them. It belongs to exactly one model.",
        ),
        (
            "Condition",
            "A starting structure with a temperature and pressure protocol: what the "
            "potential is meant to be used for.",
        ),
        ("Round", "One exploration of all conditions with one model; an iteration of the loop."),
        (
            "Window",
            "A stretch of a trajectory long enough to count as one independent look; several "
            "checks fall into it.",
        ),
        (
            "Exceedance",
            f"The share of windows in which the {score.name} passed the threshold at least once.",
        ),
        (
            "Clean",
            "A condition is clean in a round when all its steps ran, the physics gate never "
            "fired, and its exceedance is within its allowance.",
        ),
        ("Called safe", f"An atom whose {score.name} is at or below the threshold."),
        (
            "Rank",
            "How many independent directions an element's training environments span. While it "
            "still grows, grades have no scale and nothing counts as clean.",
        ),
        (
            "Certificate",
            "The record of what was shown about the delivered model: condition by "
            "condition, with bounds, and with what it does not cover.",
        ),
    )


def count(number: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun: ``1 label``, ``12 000 labels``."""
    word = noun if number == 1 else (plural or noun + "s")
    return f"{whole(number)} {word}"


def whole(number: int | float | None) -> str:
    """Return a whole number, thousands set apart by a thin space from 10 000 on."""
    if number is None:
        return NONE
    text = f"{round(number):,}" if abs(number) >= 10_000 else f"{round(number)}"
    return text.replace(",", "\u202f")


def figures(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, never in exponent form below 1e6."""
    if value is None or math.isnan(value):
        return NONE
    if math.isinf(value):
        return "∞"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size >= 6 or size < -5:
        mantissa = value / 10**size
        exponent = str(size).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"{mantissa:.2g}·10{exponent}"
    if size >= digits:
        return whole(value)
    return f"{value:.{max(0, digits - 1 - size)}f}"


def percent(share: float | None, digits: int = 2) -> str:
    """Return a share as a percentage."""
    return NONE if share is None else f"{figures(100 * share, digits)} %"


def duration(seconds: float | None) -> str:
    """Return a time as a person would say it."""
    if seconds is None:
        return NONE
    if seconds < 0.95:
        return f"{seconds:.2f} s"
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{whole(hours)} h {minutes:02d} min"


def short_hash(text: str | None) -> str:
    """Return the first twelve digits of a hash."""
    return NONE if not text else text[:12]


def round_name(iteration: int | None) -> str:
    """Return the number of a round; what came before the first is the start."""
    return "start" if iteration is None else str(iteration)


def force_rmse(errors: Errors | None) -> float | None:
    """Return the force RMSE in meV/Å, None where there is none."""
    return errors.force_rmse_meV_per_A if errors is not None else None


def listed(items: Sequence[str]) -> str:
    """Return items as a phrase: ``a, b and c``."""
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def criterion(name: str) -> str:
    """Return what a check asks; an unknown name is spelt out."""
    return CRITERIA.get(name, name.replace("_", " "))


def refusal(name: str) -> str:
    """Return why a candidate was refused; an unknown name is spelt out."""
    return REFUSALS.get(name, name.replace("_", " "))


def sentence(text: str) -> str:
    """Return text with a full stop; it may begin with a user's name, so no capital is forced."""
    text = text.strip()
    return text if not text or text[-1] in ".!?" else text + "."


__all__ = [
    "CRITERIA",
    "GRADE",
    "LEVEL",
    "NONE",
    "OUTCOME_WORDS",
    "PHASE_WORDS",
    "RATIO",
    "REFUSALS",
    "SPREAD",
    "ScoreWords",
    "count",
    "criterion",
    "duration",
    "figures",
    "force_rmse",
    "listed",
    "percent",
    "refusal",
    "round_name",
    "score_words",
    "sentence",
    "short_hash",
    "whole",
]
