"""Data in and out of a campaign: import, export, label, check the labels."""

from pathlib import Path
from typing import Annotated

import typer

from nepal_flows.cli.exit_codes import ExitCode
from nepal_flows.cli.options import CampaignArgument, JsonOption, QuietOption
from nepal_flows.cli.output import note, print_json, print_lines, table
from nepal_flows.cli.progress import counter


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for name, command in (
        ("export", export),
        ("import", import_),
        ("label", label),
        ("check-labels", check_labels),
    ):
        app.command(name)(command)


CampaignFileOption = Annotated[
    Path, typer.Option("--campaign", "-c", help="The campaign file.", show_default=True)
]
DirectoryOption = Annotated[
    Path | None,
    typer.Option("--dir", help="The campaign's folder; by default beside the file."),
]


def export(
    campaign: CampaignArgument = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; by default `bundle` in the campaign's."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle: train.xyz, test.xyz, nep.txt, nep.in, active_set.asi, data card."""
    from nepal_flows.cli.locate import located_campaign
    from nepal_flows.report.bundle import write_bundle

    located = located_campaign(campaign)
    bundle = write_bundle(
        located.records, located.campaign.key, out or located.directory / "bundle"
    )
    if as_json:
        print_json("export", {"bundle": bundle})
    else:
        print_lines(
            f"{bundle.directory}: {', '.join(bundle.files)}",
            f"{bundle.n_train} frames to train, {bundle.n_test} to test",
        )


def import_(
    frames: Annotated[
        Path, typer.Argument(metavar="TRAIN", help="Labelled frames, any format ASE reads.")
    ],
    *,
    campaign: CampaignFileOption = Path("campaign.yaml"),
    model: Annotated[
        Path | None, typer.Option("--model", help="nep.txt that the first fit starts from.")
    ] = None,
    check: Annotated[
        int, typer.Option("--check", min=0, help="Frames to label again, to compare.")
    ] = 1,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a campaign from labelled frames and, perhaps, a model that exist."""
    from nepal_flows.cli.locate import opened_campaign
    from nepal_flows.engines.input_frames import repeats_remark
    from nepal_flows.flows.imports import import_frames
    from nepal_flows.io.structures import read_labelled

    labelled = read_labelled(frames, prefers_label_energy=True)
    model_text = None if model is None else model.read_text(encoding="utf-8")
    with opened_campaign(campaign, directory) as opened:
        imported = import_frames(
            opened.records,
            opened.loaded,
            labelled,
            source=str(frames),
            model_text=model_text,
            n_checked=check,
        )
    remark = repeats_remark(imported.repeated, source=frames, counts="once")
    if remark is not None:
        note(remark)
    if as_json:
        print_json(
            "import",
            {
                "campaign": imported.campaign.name,
                "n_new": imported.n_new,
                "n_known": imported.n_known,
                "n_checked": imported.n_checked,
                "model_key": imported.model_key,
                "repeated": imported.repeated,
            },
        )
        return
    model_note = "" if imported.model_key is None else "; the first fit starts from the model"
    print_lines(
        f"{imported.n_new} frames imported into {imported.campaign.name}, {imported.n_known} were "
        f"there already, {imported.n_checked} labelled again and equal{model_note}",
        f"Go on with: nepal run {campaign}",
    )


def label(
    frames: Annotated[
        Path, typer.Argument(metavar="FRAMES", help="Structures, any format ASE reads.")
    ],
    *,
    out: Annotated[Path, typer.Option("--out", help="Extended XYZ file to write.")],
    campaign: CampaignFileOption = Path("campaign.yaml"),
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Label frames by the campaign's labeler; labels on record are reused."""
    from nepal_flows.cli.locate import opened_campaign
    from nepal_flows.flows.labels import label_frames, labelled_structures
    from nepal_flows.io.extxyz import write_extxyz
    from nepal_flows.io.structures import read_structures
    from nepal_flows.jobs.labeler import labeler_of

    structures = read_structures(frames)
    with (
        opened_campaign(campaign, directory) as opened,
        counter("labelling", quiet=quiet) as progress,
    ):
        loaded = opened.loaded
        labeler_of(loaded.campaign, loaded.structures).check(loaded.campaign.model.elements)
        labels = label_frames(
            opened.records,
            loaded,
            structures,
            source=str(frames),
            scratch=opened.directory / "scratch",
            on_done=lambda done, total, _: progress(done, total),
        )
        done = labelled_structures(opened.records, labels)
    kept = [index for index, item in enumerate(labels) if item.status == "done"]
    failed = [(index, item) for index, item in enumerate(labels) if item.status != "done"]
    out.parent.mkdir(parents=True, exist_ok=True)
    write_extxyz(done, out, info=[{"frame": index} for index in kept])
    if as_json:
        print_json(
            "label",
            {
                "out": out,
                "n_labelled": len(kept),
                "failed": [{"frame": index, "reason": item.reason} for index, item in failed],
                "labels": [item.key for item in labels],
                "cpu_s": sum(item.cost.cpu_s for item in labels),
            },
        )
    else:
        print_lines(f"{len(kept)} of {len(labels)} frames labelled, in {out}")
    for index, item in failed:
        note(f"frame {index} failed: {item.reason}")
    if failed:
        raise typer.Exit(ExitCode.ENGINE_FAILED)


def check_labels(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="The campaign file.")] = Path(
        "campaign.yaml"
    ),
    *,
    versions: Annotated[
        bool,
        typer.Option(
            "--versions", help="Make one label of every version of the code on record again."
        ),
    ] = False,
    directory: DirectoryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the labeler once before a campaign: finite differences, k-points, signs."""
    if versions:
        _check_versions(campaign, directory, as_json=as_json)
        return
    from nepal_flows.campaign.read import load_campaign
    from nepal_flows.cli.label_checks import checked_labels

    result = checked_labels(load_campaign(campaign))
    if as_json:
        print_json("check-labels", {"checks": result})
    else:
        rows: list[list[object]] = [
            ["force against energy, eV/Å", result.force_error],
            ["stress against energy, eV/Å^3", result.stress_error],
            ["rigid translation, meV/atom", result.translation_error],
            ["doubled cell, meV/atom", result.doubling_error],
            ["virial of a compressed cell, eV", result.pressure_sign],
        ]
        print_lines(*table(["check", "value"], rows), *(result.problems or ["consistent"]))
    if result.problems:
        raise typer.Exit(ExitCode.ENGINE_FAILED)


def _check_versions(campaign: Path, directory: Path | None, *, as_json: bool) -> None:
    from nepal_flows.cli.locate import opened_campaign
    from nepal_flows.flows.cross_check import cross_checked_versions

    with opened_campaign(campaign, directory) as opened:
        checks = cross_checked_versions(
            opened.records, opened.loaded, scratch=opened.directory / "scratch"
        )
    if as_json:
        print_json("check-labels", {"versions": checks})
    else:
        lines = [
            f"{check.recorded} beside {check.current}: a label was made again, {check.agreement}"
            for check in checks
        ]
        print_lines(*(lines or ["no label of these settings is on record"]))
    if not all(check.agreement.is_good for check in checks):
        raise typer.Exit(ExitCode.ENGINE_FAILED)


__all__ = ["register"]
