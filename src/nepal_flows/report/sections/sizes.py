"""Sections on the size of labels: what those of every stage add up to, and small forces."""

from nepal_flows.campaign import Campaign
from nepal_flows.campaign.stages import stage_end
from nepal_flows.report.blocks import Block, Cell, Note, Section, table
from nepal_flows.report.data import ReportData
from nepal_flows.report.facts import size_stages
from nepal_flows.report.sections.shared import FORCE_UNIT
from nepal_flows.report.words import NONE, duration, figures, percent, whole
from nepal_flows.schemas import IterationDoc, SlopePart


def sizes(data: ReportData) -> Section:
    """Return what the labels of every stage add up to, and what they took."""
    last = data.last
    if last is None or not last.label_sums:
        return Section("sizes", "Sizes of labels", pending="a first round")
    rows: list[list[Cell | str]] = []
    for name, sums in last.label_sums.items():
        rounds = [] if name == "seeds" else _rounds(data, int(name))
        taken = last.label_costs.get(name)
        cpu_s = None if taken is None else taken.cpu_s
        other = sum(
            cost.cpu_s for doc in rounds for step, cost in doc.costs.items() if step != "label"
        )
        rows.append(
            [
                _stage_name(data, name),
                str(len(rounds)) if rounds else NONE,
                whole(sums.n_labels),
                whole(sums.n_atoms),
                whole(sums.n_atoms_squared),
                whole(sums.n_atoms_cubed),
                duration(cpu_s),
                duration(None if cpu_s is None else cpu_s / max(sums.n_labels, 1)),
                duration(other) if rounds else NONE,
                _ending(data, rounds),
            ]
        )
    blocks: list[Block] = [
        table(
            "Calls of the labeler and sums over their atoms N. A code whose time grows as N² or N³ "
            "spends it as those columns say; what every call takes whatever its size goes with the "
            "number of labels.",
            (
                "stage",
                "rounds",
                "labels",
                "sum of N",
                "of N²",
                "of N³",
                "CPU of labels",
                "per label",
                "CPU of the rest",
                "ended because",
            ),
            rows,
            text_columns=("stage", "ended because"),
        )
    ]
    return Section("sizes", "Sizes of labels", blocks)


def _rounds(data: ReportData, stage: int) -> list[IterationDoc]:
    return [doc for doc in data.iterations if doc.size_stage == stage]


def _stage_name(data: ReportData, name: str) -> str:
    if name == "seeds":
        return name
    stages = size_stages(data)
    if not stages:
        return "loop"
    index = int(name)
    words = stages[min(index, len(stages) - 1)].words
    return f"{index + 1}: {words}"


def _ending(data: ReportData, rounds: list[IterationDoc]) -> str:
    if not rounds or not size_stages(data):
        return NONE
    return stage_end(rounds[-1], Campaign.model_validate(data.campaign.settings)) or NONE


def force_bias(data: ReportData) -> Section:
    """Return whether predicted forces are too small, by condition and by magnitude."""
    title = "Are forces too small?"
    bias = data.last.force_bias if data.last is not None else None
    if bias is None:
        return Section("bias", title, pending="a first round")
    shares = ", ".join(
        f"{name} {percent(share)}" for name, share in bias.small_force_share_by_condition.items()
    )
    lines = f"{percent(bias.small_force_share)} of the training atoms have less than 0.01 eV/Å"
    text = f"{lines}{f' ({shares})' if shares else ''}. "
    if bias.whole is None:
        return Section("bias", title, (Note(text + "There is no unseen label to test on yet."),))
    biased = ", ".join(part.name for part in bias.biased)
    text += (
        f"Flagged: {biased}. A slope below one in one condition alone means that it was hardly "
        "sampled; in all of them, that atoms without force weigh too much: rattle the starts more, "
        "leave out ideal frames (`exploration.burn_in_steps`), or lower "
        "`selection.max_forceless_share`."
        if biased
        else "No condition is off by more than 3 % and twice its standard error."
    )
    parts = [("all", bias.whole), *((part.name, part) for part in bias.by_condition)]
    tenths = [(f"tenth {k}", part) for k, part in enumerate(bias.by_magnitude, start=1)]
    columns = ("atoms of", "number", f"mean force, {FORCE_UNIT}", "slope", "standard error", "")
    return Section(
        "bias",
        title,
        (
            Note(text),
            table(
                f"Slope of predicted against reference forces of the {bias.tested_on}: one where "
                "forces are neither too small nor too large.",
                columns,
                [_slope_row(name, part) for name, part in parts],
                text_columns=("atoms of", ""),
            ),
            table(
                "The same by tenths of the atoms, by rising reference force.",
                columns,
                [_slope_row(name, part) for name, part in tenths],
                text_columns=("atoms of", ""),
                is_folded=True,
            ),
        ),
    )


def _slope_row(name: str, part: SlopePart) -> list[Cell | str]:
    return [
        name,
        whole(part.n_atoms),
        figures(part.mean_force_meV_per_A),
        f"{part.slope:.3f}",
        f"{part.standard_error:.3f}",
        Cell("biased", "warn") if part.is_biased else "",
    ]


__all__ = ["force_bias", "sizes"]
