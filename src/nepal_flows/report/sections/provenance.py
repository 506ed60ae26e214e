"""How it was done: the sections of the page on cost, training, settings, and doing it again."""

from typing import Any

import yaml

from nepal_flows.report import figures as draw
from nepal_flows.report.blocks import Block, Cell, Code, Drawing, Note, Section, Table, table
from nepal_flows.report.data import ReportData, total_cost
from nepal_flows.report.words import (
    NONE,
    count,
    duration,
    figures,
    force_rmse,
    short_hash,
    whole,
)
from nepal_flows.schemas import Cost, TrainingDoc


def training(data: ReportData) -> Section:
    """Return the models and how the newest training went."""
    if not data.models:
        return Section("training", "Training", pending="a first model")
    blocks: list[Block] = []
    figure = draw.training_loss(data)
    if figure is not None:
        label = data.histories[-1].label
        blocks.append(
            Drawing(
                "loss",
                figure,
                f"Errors during the training of {label}.",
                f"Errors during the newest training ({label}). Training and hold-out curves that "
                "part company mean over-fitting; curves still falling at the end mean that a "
                "longer training would help more than new labels.",
            )
        )
    blocks.append(
        table(
            "Every model: forces in meV/Å.",
            (
                "model",
                "round",
                "kind",
                "labels",
                "atoms",
                "seed",
                "training",
                "hold-out",
                "elapsed",
            ),
            [_model_row(model, data.delivered_model) for model in data.models],
            text_columns=("model", "kind"),
            is_folded=len(data.models) > 3,
        )
    )
    return Section("training", "Training", blocks)


def _model_row(model: TrainingDoc, delivered: TrainingDoc | None) -> list[Cell | str]:
    kind = "final fit" if model.stage == "final" else "in the loop"
    kind += ", warm start" if model.parent_model_sha256 else ""
    kind += ", delivered" if delivered is not None and model.key == delivered.key else ""
    return [
        Cell(short_hash(model.model_sha256), hint=model.model_sha256, is_code=True),
        NONE if model.iteration is None else str(model.iteration),
        kind,
        whole(model.n_structures),
        whole(model.n_atoms),
        str(model.seed),
        figures(force_rmse(model.training_errors)),
        figures(force_rmse(model.holdout_errors)),
        duration(model.cost.wall_s),
    ]


def cost(data: ReportData) -> Section:
    """Return elapsed and CPU time by stage and round."""
    figure = draw.cost(data)
    if figure is None:
        return Section("cost", "Cost", pending="a cost on record")
    total = data.total_cost()
    return Section(
        "cost",
        "Cost",
        [
            Drawing(
                "cost",
                figure,
                f"Time of all tasks by stage and round; in all {duration(total.wall_s)}.",
                f"Time of all tasks of every stage, round by round: {duration(total.wall_s)} "
                f"together, {duration(total.cpu_s)} of CPU. Tasks that ran side by side are "
                "added up, so this is more than the time on the clock. Bars are stacked in the "
                "order of the legend.",
            ),
            _cost_table(data, total),
        ],
    )


def _cost_table(data: ReportData, total: Cost) -> Table:
    stages = draw.stage_names(data)
    by_iteration = data.cost_by_iteration()
    rows: list[list[Cell | str]] = []
    for name in stages:
        costs = [part[name] for _, part in by_iteration if name in part]
        sum_of_stage = total_cost(costs)
        share = sum_of_stage.wall_s / total.wall_s if total.wall_s else 0.0
        rows.append(
            [
                name,
                duration(sum_of_stage.wall_s),
                f"{100 * share:.0f} %",
                duration(sum_of_stage.cpu_s),
                duration(sum_of_stage.wall_s / len(costs)),
            ]
        )
    rows.append(["all", duration(total.wall_s), "100 %", duration(total.cpu_s), NONE])
    return table(
        "Cost of each stage over the whole campaign.",
        ("stage", "time", "share", "CPU", "time per round"),
        rows,
        text_columns=("stage",),
    )


def settings_used(data: ReportData) -> Section:
    """Return hashes, seeds, versions and the campaign file."""
    campaign, model = data.campaign, data.delivered_model
    active = [a for a in data.active_sets if model and a.model_sha256 == model.model_sha256]
    hashes = [
        ("model (nep.txt)", model.model_sha256 if model else ""),
        ("training data", model.dataset_key if model else ""),
        ("active set", active[-1].active_set.sha256 if active else ""),
        ("campaign identity", campaign.identity),
        ("starting structures", campaign.structures.sha256),
    ]
    blocks: list[Block] = [
        table(
            "Hashes (SHA-256): two campaigns with the same hash used the same thing.",
            ("what", "hash"),
            [[name, Cell(value or NONE, is_code=True)] for name, value in hashes],
            text_columns=("what", "hash"),
        ),
        table(
            "Seeds, versions and machine.",
            ("what", "value"),
            [[name, value] for name, value in _facts(data)],
            text_columns=("what", "value"),
        ),
        Code("The campaign file, complete with defaults", _yaml(campaign.settings)),
    ]
    if data.nep_in:
        blocks.append(Code("nep.in of the delivered model", data.nep_in))
    if model is not None and model.reference_energies_eV:
        energies = ", ".join(
            f"{symbol} {value:.6f} eV" for symbol, value in model.reference_energies_eV.items()
        )
        blocks.append(
            Note(f"nep.txt predicts energies without these atomic reference energies: {energies}.")
        )
    return Section("settings", "Settings, versions, hashes", blocks)


def _facts(data: ReportData) -> list[tuple[str, str]]:
    campaign, model = data.campaign, data.delivered_model
    seed = campaign.settings.get("seed")
    facts = [("campaign seed", NONE if seed is None else str(seed))]
    if model is not None:
        facts.append(("seed of the delivered model", str(model.seed)))
        facts.append(("trainer", model.trainer))
    if data.validation is not None:
        facts.append(("seed of the fresh trajectories", str(data.validation.seed)))
    labelers = sorted({" ".join(filter(None, (d.labeler, d.labeler_version))) for d in data.labels})
    if labelers:
        facts.append(("labeler", ", ".join(labelers)))
    facts += list(campaign.versions.items()) + list(campaign.machine.items())
    facts.append(("campaign created", campaign.created_at))
    facts.append(("page built", data.generated_at or NONE))
    return facts


def _yaml(settings: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(
        settings, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
    return text


def again(data: ReportData) -> Section:
    """Return how to run the campaign once more."""
    version = data.campaign.versions.get("nepal_flows", data.campaign.code_version)
    names = data.campaign.structure_names
    commands = "\n".join(
        (
            "nepal plan campaign.yaml     # shows every input before anything runs",
            "nepal run campaign.yaml      # runs, or continues, the campaign",
            "nepal report campaign.yaml   # writes this page again",
            "nepal export campaign.yaml --out bundle   # potential, active set, data, inputs",
        )
    )
    text = (
        "Save the campaign file above as campaign.yaml next to "
        f"{count(len(names), 'starting structure')} ({', '.join(names) or 'none named'}), install "
        f"nepal_flows {version}, and run these. Seeds are derived from the campaign seed, so the "
        "same versions on one thread give the same labels and the same model; other machines "
        "give the same up to rounding."
    )
    return Section(
        "again", "Do it again", [Note(text), Code("Commands", commands, is_folded=False)]
    )


__all__ = ["again", "cost", "settings_used", "training"]
