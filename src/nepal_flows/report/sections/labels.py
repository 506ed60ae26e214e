"""Section on what was selected and labelled, what was refused, and what failed."""

from collections import Counter

from nepal_flows.report import figures as draw
from nepal_flows.report.blocks import Block, Cell, Drawing, Note, Section, Table, table
from nepal_flows.report.data import ReportData
from nepal_flows.report.words import (
    NONE,
    OUTCOME_WORDS,
    count,
    figures,
    refusal,
    round_name,
    short_hash,
    whole,
)


def selection(data: ReportData) -> Section:
    """Return what was chosen, refused and labelled, and what failed."""
    blocks: list[Block] = []
    figure = draw.selection(data)
    if figure is not None:
        chosen = sum(len(doc.selected) for doc in data.selections)
        candidates = sum(doc.n_candidates for doc in data.selections)
        blocks.append(
            Drawing(
                "selection",
                figure,
                f"{chosen} of {count(candidates, 'candidate frame')} chosen; the rest refused.",
                f"Candidate frames of each round. The frame with the largest {data.score.name} is "
                "chosen, its environments are added, the rest are scored again, and so on: frames "
                f"refused for a low {data.score.name} were made needless by an earlier choice.",
            )
        )
        blocks.append(_selection_table(data))
        blocks.append(_newest_frames(data))
    if data.labels:
        blocks.append(_label_table(data))
        blocks.append(_failed_labels(data))
    largest = f"largest {data.score.symbol}"
    early = [run for run in data.explorations if run.outcome != "finished"]
    if early:
        blocks.append(
            table(
                f"Runs that ended early: {len(early)} of {len(data.explorations)}.",
                (
                    "round",
                    "condition",
                    "replica",
                    "outcome",
                    "steps run",
                    largest,
                    "why",
                ),
                [
                    [
                        round_name(run.iteration),
                        run.condition,
                        str(run.replica),
                        OUTCOME_WORDS.get(run.outcome, run.outcome),
                        f"{whole(run.finished_steps)} of {whole(run.requested_steps)}",
                        figures(run.gamma_max),
                        run.reason or NONE,
                    ]
                    for run in early
                ],
                text_columns=("condition", "outcome", "why"),
                is_folded=True,
            )
        )
    title = "Selection and labels"
    return Section("selection", title, blocks, pending="" if blocks else "a first label")


def _selection_table(data: ReportData) -> Table:
    rows: list[list[Cell | str]] = []
    left = f"largest {data.score.symbol} left"
    for doc in data.selections:
        by_condition = Counter(frame.condition for frame in doc.selected)
        rows.append(
            [
                round_name(doc.iteration),
                whole(doc.n_candidates),
                whole(sum(frame.role == "train" for frame in doc.selected)),
                whole(sum(frame.role == "holdout" for frame in doc.selected)),
                ", ".join(f"{name} {n}" for name, n in by_condition.items()) or NONE,
                ", ".join(f"{refusal(reason)} {n}" for reason, n in doc.refused.items() if n)
                or NONE,
                figures(doc.largest_remaining_grade),
            ]
        )
    return table(
        "What was chosen and refused in each round, with reasons.",
        ("round", "candidates", "training", "hold-out", "chosen from", "refused", left),
        rows,
        text_columns=("chosen from", "refused"),
        is_folded=True,
    )


def _newest_frames(data: ReportData) -> Table:
    doc = [doc for doc in data.selections if doc.selected or doc.n_candidates][-1]
    symbol = data.score.symbol
    where = "the start" if doc.iteration is None else f"round {doc.iteration}"
    waits = ": they wait for approval" if data.is_waiting else ""
    return table(
        f"The frames chosen last, in {where}{waits}.",
        ("condition", "step", f"{symbol} when found", f"{symbol} when chosen", "for", "structure"),
        [
            [
                frame.condition,
                whole(frame.step),
                figures(frame.gamma),
                figures(frame.gamma_when_chosen),
                "training" if frame.role == "train" else "hold-out",
                Cell(short_hash(frame.structure_key), hint=frame.structure_key, is_code=True),
            ]
            for frame in doc.selected
        ],
        text_columns=("condition", "for", "structure"),
        is_folded=not data.is_waiting,
    )


def _label_table(data: ReportData) -> Table:
    groups: dict[tuple[str, str], list[int]] = {}
    for doc in data.labels:
        key = (doc.ancestry.source, doc.ancestry.condition or NONE)
        counts = groups.setdefault(key, [0, 0, 0, 0])
        counts[2 if doc.status == "quarantined" else int(doc.role == "holdout")] += 1
        counts[3] += doc.n_atoms
    return table(
        "Where the labels come from.",
        ("source", "condition", "training", "hold-out", "failed", "atoms"),
        [[*key, *(whole(number) for number in counts)] for key, counts in sorted(groups.items())],
        text_columns=("source", "condition"),
        is_folded=True,
    )


def _failed_labels(data: ReportData) -> Block:
    failed = [doc for doc in data.labels if doc.status == "quarantined"]
    if not failed:
        retried = sum(len(doc.attempts) > 1 for doc in data.labels)
        return Note(f"No label failed; {retried} needed more than one attempt.")
    return table(
        f"Labels that failed and were set aside: {len(failed)} of {len(data.labels)}. They are "
        "in no training set.",
        ("structure", "round", "formula", "condition", data.score.symbol, "attempts", "why"),
        [
            [
                Cell(short_hash(doc.structure_key), hint=doc.structure_key, is_code=True),
                round_name(doc.iteration),
                doc.formula,
                doc.ancestry.condition or NONE,
                figures(doc.ancestry.gamma),
                ", ".join(attempt.rung for attempt in doc.attempts) or NONE,
                doc.reason or NONE,
            ]
            for doc in failed
        ],
        text_columns=("structure", "formula", "condition", "attempts", "why"),
    )


__all__ = ["selection"]
