"""The verdict on a campaign: its end state in words, why, what is shown and what is not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import (
    holdout_rmse,
    judged_conditions,
    label_counts,
    largest_safe_error,
    newest_calibration,
    training_peak,
    training_rmse,
    validation_limits,
    validation_rows,
    worst_condition,
)
from nepal_flows.report.words import (
    count,
    figures,
    force_rmse,
    listed,
    percent,
    sentence,
    short_hash,
    whole,
)
from nepal_flows.schemas import ConditionVerdict, IterationDoc

Tone = Literal["good", "warn", "bad", "neutral"]


@dataclass(frozen=True)
class Verdict:
    """What a reader should know first.

    Attributes
    ----------
    state
        ``end_state`` of the campaign, or ``running``, ``interrupted``, ``waiting``,
        ``in_progress``.
    headline, sentence
        The state in one or two words, and in one sentence.
    tone
        How it is set off on the page.
    reasons
        Why it ended so.
    missing
        What the certificate still lacks.
    shown
        What the certificate, or else the newest iteration, says.
    not_covered
        What it does not say.
    cautions
        What looks wrong or weak in the documents.
    next_steps
        What to do now.
    """

    state: str
    headline: str
    sentence: str
    tone: Tone
    reasons: tuple[str, ...]
    missing: tuple[str, ...]
    shown: tuple[str, ...]
    not_covered: tuple[str, ...]
    cautions: tuple[str, ...]
    next_steps: tuple[str, ...]


@dataclass(frozen=True)
class _State:
    headline: str
    sentence: str
    tone: Tone
    next_steps: tuple[str, ...]


_CONTINUE = "Run `nepal run` with the same campaign file: it continues where it stands."
_STATES: dict[str, _State] = {
    "converged": _State(
        "Converged",
        "Every criterion of the certificate holds for the delivered model.",
        "good",
        (
            "Read what is not covered before using the potential for anything else.",
            "`nepal export` writes the potential, its active set and the data in one bundle.",
        ),
    ),
    "budget_exhausted": _State(
        "Budget spent",
        "The budget was spent before the certificate held: the model is the best so far, "
        "without a certificate.",
        "warn",
        (
            "Raise the budget in the campaign file and run `nepal run` again: nothing is repeated.",
            "Or narrow the campaign: drop the conditions that are not clean.",
        ),
    ),
    "stalled": _State(
        "Stalled",
        "Further rounds no longer brought the campaign closer to its certificate.",
        "warn",
        (
            "Look at the conditions that are not clean: they may need more labels per round, a "
            "longer training or a larger network.",
            "Change those settings and start a campaign from this data with `nepal import`.",
        ),
    ),
    "failed": _State(
        "Failed",
        "The campaign could not go on.",
        "bad",
        ("Remove the cause named here and run `nepal run` again: what was done is kept.",),
    ),
    "stopped": _State(
        "Stopped",
        "The campaign was stopped on request before its certificate held.",
        "neutral",
        (_CONTINUE,),
    ),
    "running": _State("Running", "The campaign is at work; this is how it stands.", "neutral", ()),
    "interrupted": _State(
        "Interrupted",
        "The campaign has not ended, and no process is working on it.",
        "warn",
        (_CONTINUE,),
    ),
    "waiting": _State(
        "Waiting for you",
        "Frames are chosen and wait for your word before they are labelled.",
        "neutral",
        (
            "Look at the newest frames in the section on selection and labels.",
            "`nepal run` with `--approve` has them labelled and goes on.",
        ),
    ),
    "in_progress": _State(
        "Not finished",
        "The campaign has not ended; this is how it stands.",
        "neutral",
        (_CONTINUE,),
    ),
}


def build_verdict(data: ReportData) -> Verdict:
    """Return the verdict on a campaign as its documents stand."""
    name = _state_name(data)
    state = _STATES[name]
    text = state.sentence
    if data.last is None and data.campaign.end_state is None:
        text += " No iteration has ended yet."
    elif data.certificate is None and name == "converged":
        text = "The campaign is marked converged, but its certificate is not on record."
    return Verdict(
        state=name,
        headline=state.headline,
        sentence=text,
        tone="warn" if name == "converged" and data.certificate is None else state.tone,
        reasons=_unique(data.campaign.end_reasons),
        missing=_still_missing(data),
        shown=_shown(data),
        not_covered=_not_covered(data),
        cautions=_cautions(data),
        next_steps=state.next_steps,
    )


def _state_name(data: ReportData) -> str:
    if data.campaign.end_state is not None:
        return data.campaign.end_state
    if data.is_waiting and not data.is_running:
        return "waiting"
    if data.is_running is None:
        return "in_progress"
    return "running" if data.is_running else "interrupted"


def _still_missing(data: ReportData) -> tuple[str, ...]:
    if data.last is None or data.certificate is not None:
        return ()
    known = set(data.campaign.end_reasons)
    return _unique([reason for reason in data.last.reasons if reason not in known])


def _unique(reasons: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(sentence(reason) for reason in reasons if reason.strip()))


def _shown(data: ReportData) -> tuple[str, ...]:
    """Return what the documents show, strongest first."""
    verdicts = judged_conditions(data)
    lines = [_condition_line(data, verdicts)] if verdicts else []
    worst = worst_condition(verdicts)
    if worst is not None:
        lines.append(_bound_line(data, worst))
    lines += [_safe_line(data), _force_line(data)]
    return tuple(line for line in lines if line)


def _condition_line(data: ReportData, verdicts: list[ConditionVerdict]) -> str:
    clean = sum(verdict.is_clean for verdict in verdicts)
    steps = sum(verdict.finished_steps for verdict in verdicts)
    which = "the certified round" if data.certificate else "the newest round"
    return (
        f"{clean} of {count(len(verdicts), 'condition')} were clean in {which}, "
        f"over {whole(steps)} steps of molecular dynamics."
    )


def _bound_line(data: ReportData, worst: ConditionVerdict) -> str:
    level = f"{data.score.name} {data.gamma_low:g}" if data.gamma_low else "the threshold"
    return (
        f"In the hardest condition, {worst.condition}, {whole(worst.n_exceeded_windows)} of "
        f"{count(worst.n_windows, 'window')} passed {level}: at 95 % confidence, "
        f"less than {percent(worst.exceedance_upper_95)} of its windows do."
    )


def _safe_line(data: ReportData) -> str:
    largest, table = largest_safe_error(data), newest_calibration(data)
    if largest is None:
        return ""
    seen = (
        f"Of {count(table.n_atoms, 'atom')} compared with the teacher, those" if table else "Atoms"
    )
    line = f"{seen} called safe had a force error of at most {figures(largest)} meV/Å"
    training = training_peak(data)
    if training:
        line += f", {figures(largest / training, 2)} times the largest in training"
    return line + "."


def _force_line(data: ReportData) -> str:
    parts = [
        (force_rmse(data.validation.errors if data.validation else None), "on fresh trajectories"),
        (holdout_rmse(data), "on the hold-out"),
        (training_rmse(data), "in training"),
    ]
    named = [f"{figures(value)} meV/Å {where}" for value, where in parts if value is not None]
    return f"Force RMSE: {listed(named)}." if named else ""


def _not_covered(data: ReportData) -> tuple[str, ...]:
    if data.certificate is not None:
        return tuple(sentence(item) for item in data.certificate.not_covered)
    return (
        "There is no certificate: nothing on this page bounds the error of the model.",
        f"{data.score.title}s and errors describe the listed conditions only; "
        "elsewhere nothing was tried.",
    )


def _cautions(data: ReportData) -> tuple[str, ...]:
    lines = [sentence(text) for text in data.missing]
    if data.campaign.end_state == "converged" and data.certificate is None:
        lines.append("Treat the model as not certified until the certificate is found.")
    lines += _model_cautions(data) + _limit_cautions(data) + _label_cautions(data)
    if data.last is not None:
        lines += _round_cautions(data, data.last)
    return tuple(lines)


def _model_cautions(data: ReportData) -> list[str]:
    model, certificate = data.delivered_model, data.certificate
    lines = []
    if model and certificate and model.model_sha256 != certificate.model_sha256:
        lines.append(
            f"The certificate is for model {short_hash(certificate.model_sha256)}, but the "
            f"delivered model is {short_hash(model.model_sha256)}."
        )
    validation = data.validation
    if model and validation and validation.model_sha256 != model.model_sha256:
        lines.append(
            "The errors on fresh trajectories were measured with model "
            f"{short_hash(validation.model_sha256)}, not with the delivered one."
        )
    return lines


def _limit_cautions(data: ReportData) -> list[str]:
    """Return where the test on fresh trajectories missed what the campaign file asks for."""
    if data.validation is None:
        return []
    by_run, overall = validation_limits(data)
    rows = [
        *validation_rows(data),
        ("all trajectories", data.validation.errors),
    ]
    lines = []
    for name, errors in rows:
        limit, force = {**by_run, "all trajectories": overall}.get(name), force_rmse(errors)
        if limit is not None and force is not None and force > limit:
            lines.append(
                f"On fresh trajectories, {name}: the force error is {figures(force)} meV/Å, "
                f"{limit:g} were asked for."
            )
    return lines


def _label_cautions(data: ReportData) -> list[str]:
    total, _, _, failed = label_counts(data) or (0, 0, 0, 0)
    if failed > 0.1 * max(total, 1):
        return [
            f"{failed} of {count(total, 'label')} failed: the set may lack just the "
            "structures that are hard for the teacher."
        ]
    return []


def _round_cautions(data: ReportData, last: IterationDoc) -> list[str]:
    lines = []
    growing = [part.element for part in last.coverage if not part.is_saturated]
    if growing and not any("rank" in reason for reason in last.reasons):
        lines.append(
            f"The rank of {listed(growing)} still grows with every batch: grades have no scale "
            "yet, and nothing counts as clean."
        )
    short = [v.condition for v in last.conditions if v.finished_steps < v.requested_steps]
    if short and not any("steps" in reason for reason in last.reasons):
        lines.append(f"Not all steps ran in the newest round: {listed(short)}.")
    largest, training = largest_safe_error(data), training_peak(data)
    if largest is not None and training and largest > 3 * training:
        lines.append(
            f"Atoms called safe were off by up to {figures(largest)} meV/Å, "
            f"{figures(largest / training, 2)} times the largest training error: the "
            f"{data.score.name} is missing something."
        )
    return lines


__all__ = ["Tone", "Verdict", "build_verdict"]
