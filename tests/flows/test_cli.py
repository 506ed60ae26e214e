"""A small campaign from the command line: run, ask, look, run again."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nepal_flows.cli.app import run_app
from nepal_flows.flows import run_campaign
from nepal_flows.records import CampaignLock, Records, embedded_job_store
from nepal_flows.schemas import LabelDoc

MANUAL = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_campaign):
    """The folder of a campaign that ran to the end of its budget."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_campaign(folder)
    assert run_app(["run", str(path), "--quiet"]) == 5
    return folder


@pytest.fixture
def nepal(capsys):
    def run(*arguments):
        code = run_app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def documented(kind):
    """Field names that the manual gives for a JSON document."""
    text = MANUAL.read_text(encoding="utf-8")
    section = text.split(f"### nepal/{kind}/1", 1)[1].split("\n###", 1)[0]
    return set(re.findall(r"`([a-zA-Z_]+)`", section))


def test_run_leaves_what_the_manual_says(finished):
    names = {item.name for item in (finished / "small").iterdir()}
    assert {"store", "run.log", "report.html"} <= names


def test_run_again_returns_at_once_with_the_same_end(finished, nepal):
    code, out, err = nepal("run", finished / "campaign.yaml", "--json")
    document = json.loads(out)
    assert code == 5
    assert document["end_state"] == "budget_exhausted"
    assert document["schema"] == "nepal/run/1"
    assert Path(document["report"]).is_file()
    assert "train" not in err


def test_status_is_documented_field_by_field(finished, nepal):
    code, out, _ = nepal("status", finished / "campaign.yaml", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["end_state"] == "budget_exhausted"
    assert document["is_running"] is False
    assert document["n_labels_total"] <= 14
    assert set(document) - {"schema"} <= documented("status")


def test_status_finds_the_only_campaign_here(finished, nepal, monkeypatch):
    monkeypatch.chdir(finished)
    assert "small: budget spent" in nepal("status")[1]
    monkeypatch.chdir(finished / "small")
    assert "small: budget spent" in nepal("status")[1]


def test_folder_that_holds_the_only_campaign_will_do(finished, nepal):
    assert nepal("status", finished)[1] == nepal("status", finished / "small")[1]


def test_report_is_one_page(finished, nepal, tmp_path):
    code, out, _ = nepal("report", finished / "small", "--out", tmp_path / "r.html")
    assert code == 0
    assert out.strip() == str(tmp_path / "r.html")
    assert "</html>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def labels(nepal, folder, *options):
    code, out, err = nepal("query", "labels", "-c", folder / "small", "--json", *options)
    assert code == 0, err
    return json.loads(out)["labels"]


def test_labels_are_found_by_what_they_are(finished, nepal):
    every = labels(nepal, finished)
    assert set(every[0]) <= documented("query-labels")
    seeds = labels(nepal, finished, "--iteration", "-1")
    assert len(seeds) == 4
    assert {row["source"] for row in seeds} == {"seed"}
    first = labels(nepal, finished, "--iteration", "0")
    assert {row["iteration"] for row in first} == {0}
    held = labels(nepal, finished, "--role", "holdout")
    assert {row["role"] for row in held} == {"holdout"}
    assert len(held) + len(labels(nepal, finished, "--role", "train")) == len(every)
    hot = labels(nepal, finished, "--gamma-min", "10")
    assert hot
    assert min(row["gamma"] for row in hot) >= 10
    assert labels(nepal, finished, "--element", "Cu") == every
    assert labels(nepal, finished, "--element", "Au") == []
    assert labels(nepal, finished, "--failed") == []
    assert len(labels(nepal, finished, "--limit", "2")) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["labels", "--element", "Xx"], "not a chemical element"),
        (["labels", "--role", "x"], "`train` or `holdout`"),
        (["documents", "nonsense"], "no kind of document"),
        (["documents", "label", "--where", "{"], "not JSON"),
        (["documents", "label", "--where", "[1]"], "expected an object"),
        (["ancestry", "zzz"], "0 labels"),
        (["ancestry", ""], "labels of `small` begin"),
    ],
)
def test_bad_questions_are_refused(finished, nepal, options, message):
    code, _, err = nepal("query", *options, "-c", finished / "small")
    assert code == 2
    assert message in err


def test_ancestry_leads_back_to_run_and_model(finished, nepal):
    (row, *_) = labels(nepal, finished, "--iteration", "0", "--role", "train")
    code, out, _ = nepal("query", "ancestry", row["key"][:12], "-c", finished / "small", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["label"]["key"] == row["key"]
    assert document["origin"]["step"] == row["step"]
    assert document["run"]["condition"] == row["condition"]
    assert document["model"]["sha256"] == document["origin"]["model_sha256"]
    assert document["labelled by"]["labeler"] == "ase"
    assert "run" in nepal("query", "ancestry", row["key"], "-c", finished / "small")[1]


def test_cost_adds_up(finished, nepal):
    _, out, _ = nepal("query", "cost", "-c", finished / "small", "--json")
    *stages, total = json.loads(out)["stages"]
    assert {stage["stage"] for stage in stages} >= {"train", "explore", "select", "label"}
    assert total["wall_s"] == pytest.approx(sum(stage["wall_s"] for stage in stages))
    assert "total" in nepal("query", "cost", "-c", finished / "small")[1]


def test_documents_of_any_kind_are_printed(finished, nepal):
    where, fields = '{"role": "holdout"}', "key,role"
    _, out, _ = nepal(
        "query", "documents", "label", "-c", finished / "small", "--where", where,
        "--fields", fields,
    )  # fmt: skip
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows
    assert all(row.keys() == {"key", "role"} and row["role"] == "holdout" for row in rows)


def test_campaign_that_another_process_runs_is_left_alone(finished, nepal):
    with CampaignLock(finished / "small"):
        code, _, err = nepal("run", finished / "campaign.yaml", "--quiet")
        assert code == 4
        assert "being run by" in err
        assert json.loads(nepal("status", finished / "small", "--json")[1])["is_running"] is True


def test_other_model_under_the_same_name_is_refused(finished, nepal):
    path = finished / "other.yaml"
    path.write_text((finished / "campaign.yaml").read_text().replace("neuron: 4", "neuron: 5"))
    code, _, err = nepal("run", path, "--quiet")
    assert code == 2
    assert "`model`" in err


def test_pause_waits_for_approval(tmp_path, nepal, write_campaign):
    path = write_campaign(tmp_path, pause_before_label=True)
    code, out, _ = nepal("run", path, "--quiet")
    assert code == 0
    assert "--approve" in out
    document = json.loads(nepal("status", path, "--json")[1])
    assert document["waiting_selection"]
    assert document["end_state"] is None
    assert document["iteration"] is None
    code, out, _ = nepal("run", path, "--quiet", "--approve")
    assert len(labels(nepal, tmp_path)) == 4


@pytest.fixture
def frames(tmp_path):
    """Three rattled cells without labels."""
    images = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        images.append(atoms)
    write(tmp_path / "frames.xyz", images)
    return tmp_path / "frames.xyz"


def test_label_gives_what_the_calculator_gives(tmp_path, frames, nepal, write_campaign):
    path = write_campaign(tmp_path)
    out = tmp_path / "labelled.xyz"
    code, text, _ = nepal("label", frames, "-c", path, "--out", out, "--json")
    assert code == 0
    assert json.loads(text)["n_labelled"] == 3
    for labelled, plain in zip(read(out, ":"), read(frames, ":"), strict=True):
        plain.calc = EMT()
        assert labelled.get_potential_energy() == pytest.approx(plain.get_potential_energy())
        assert np.allclose(labelled.get_forces(), plain.get_forces(), atol=1e-8)
        assert np.allclose(labelled.get_stress(), plain.get_stress(), atol=1e-8)


def test_labels_are_made_once(tmp_path, frames, nepal, write_campaign):
    path = write_campaign(tmp_path)
    first, second = (
        json.loads(nepal("label", frames, "-c", path, "--out", tmp_path / "l.xyz", "--json")[1])
        for _ in range(2)
    )
    assert first == second  # the second run reads the first one's labels, their cost too


def test_failed_labels_are_named_and_the_others_written(tmp_path, nepal, write_campaign):
    path = write_campaign(tmp_path)
    write(tmp_path / "mixed.xyz", [bulk("Cu", cubic=True), bulk("Si")])
    out = tmp_path / "labelled.xyz"
    code, _, err = nepal("label", tmp_path / "mixed.xyz", "-c", path, "--out", out)
    assert code == 3
    assert "frame 1 failed" in err
    (kept,) = read(out, ":")
    assert kept.info["frame"] == 0


def test_labeler_is_checked_by_one_command(tmp_path, nepal, write_campaign):
    code, out, _ = nepal("check-labels", write_campaign(tmp_path), "--json")
    checks = json.loads(out)["checks"]
    assert code == 0
    assert checks["problems"] == []
    assert checks["force_error"] < 1e-3
    assert checks["pressure_sign"] > 0


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["report", "--out", "r.html"],
        ["query", "labels", "-c"],
        ["query", "cost", "-c"],
        ["export", "--out", "b"],
    ],
)
def test_what_is_on_record_needs_no_structure_file(finished, nepal, tmp_path, monkeypatch, command):
    moved = shutil.copytree(finished, tmp_path / "moved")
    (moved / "Cu.vasp").unlink()
    monkeypatch.chdir(tmp_path)
    place = moved / "campaign.yaml"
    arguments = [*command, place] if command[-1] == "-c" else [command[0], place, *command[1:]]
    code, out, err = nepal(*arguments)
    assert code == 0, err
    assert out
    assert nepal("plan", place)[0] == 2


def test_damaged_blob_is_told_and_a_damaged_label_made_again(finished, nepal, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "damaged")
    records = Records(embedded_job_store(folder / "small" / "store"))
    label = next(records.query(LabelDoc, {"status": "done"}))
    file = records.blobs.store.file(label.frame.sha256)
    before = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(before[: len(before) // 2])
    for command in (["report", folder / "small"], ["run", folder / "campaign.yaml"]):
        code, _, err = nepal(*command, *(["--quiet"] if command[0] == "run" else []))
        assert code == 4, err
        assert str(file) in err
        assert label.key in err
        assert "--retry-failed" in err
        assert "Traceback" not in err
    code, _, err = nepal("run", folder / "campaign.yaml", "--quiet", "--retry-failed")
    assert code == 5, err
    assert file.read_bytes() == before
    assert nepal("report", folder / "small")[0] == 0


def test_export_writes_the_bundle(finished, nepal, tmp_path):
    code, out, _ = nepal("export", finished / "small", "--out", tmp_path / "bundle", "--json")
    assert code == 0
    names = set(json.loads(out)["bundle"]["files"])
    assert names >= {"train.xyz", "test.xyz", "nep.txt", "nep.in", "active_set.asi"}
    assert names >= {"active_set.npz", "README.md"}
    for name in names:
        assert (tmp_path / "bundle" / name).is_file()
    code, out, _ = nepal(
        "grade", tmp_path / "bundle" / "nep.txt", tmp_path / "bundle" / "active_set.asi",
        tmp_path / "bundle" / "train.xyz", "--out", tmp_path / "g.xyz", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["is_verified"] is True
    assert max(json.loads(out)["max_gamma"]) <= 1.001 + 1e-6
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "virials over the six independent components per atom" in card
    predicted = json.loads(
        nepal(
            "predict", tmp_path / "bundle" / "nep.txt", tmp_path / "bundle" / "train.xyz",
            "--out", tmp_path / "p.xyz", "--json",
        )[1]
    )  # fmt: skip
    virial = predicted["errors"]["virial_rmse_eV_per_atom"]
    assert f"virials {1e3 * virial:.1f} meV/atom" in card


def test_import_begins_a_campaign_with_data_that_exist(tmp_path, frames, nepal, write_campaign):
    seeds = {"n": 0, "n_atoms": 8}
    path = write_campaign(tmp_path, seeds=seeds, budget={"labels": 20, "iterations": 1})
    out = tmp_path / "train.xyz"
    assert nepal("label", frames, "-c", path, "--out", out)[0] == 0
    code, text, err = nepal("import", out, "-c", path, "--json")
    assert code == 0, err
    assert json.loads(text)["n_new"] == 3
    assert json.loads(nepal("import", out, "-c", path, "--json")[1])["n_known"] == 3
    assert nepal("run", path, "--quiet")[0] == 5
    imported = [row for row in labels(nepal, tmp_path) if row["condition"] == "import"]
    assert len(imported) == 3


def test_bundle_that_was_exported_is_imported(tmp_path, finished, nepal, write_campaign):
    bundle = tmp_path / "bundle"
    assert nepal("export", finished / "small", "--out", bundle)[0] == 0
    path = write_campaign(tmp_path, seeds={"n": 0, "n_atoms": 8})
    code, _, err = nepal("run", path, "--quiet")
    assert code == 3
    assert "nepal import" in err
    code, text, err = nepal(
        "import", bundle / "train.xyz", "-c", path, "--model", bundle / "nep.txt", "--json"
    )
    assert code == 0, err
    assert json.loads(text)["n_new"] == len(read(bundle / "train.xyz", ":"))


def test_interrupted_campaign_waits_for_nobody(tmp_path, nepal, write_campaign):
    def interrupt(event):
        if event.stage == "label":
            raise KeyboardInterrupt

    path = write_campaign(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_campaign(path, listener=interrupt)
    document = json.loads(nepal("status", path, "--json")[1])
    assert document["end_state"] == "stopped"
    assert document["waiting_selection"] is None
    code, _, err = nepal("export", path, "--out", tmp_path / "bundle")
    assert code == 2
    assert "has no model yet" in err
    assert not (tmp_path / "bundle").exists()


def test_import_tells_repeats_and_refuses_contradictions(tmp_path, frames, nepal, write_campaign):
    path = write_campaign(tmp_path, seeds={"n": 0, "n_atoms": 8})
    out = tmp_path / "train.xyz"
    assert nepal("label", frames, "-c", path, "--out", out)[0] == 0
    images = read(out, ":")
    write(out, [*images, images[1]])
    code, text, err = nepal("import", out, "-c", path, "--json")
    assert code == 0, err
    assert "1 = 3; it counts once" in err
    assert json.loads(text)["repeated"] == [[1, 3]]
    results = dict(images[1].calc.results) | {"energy": 0.0, "free_energy": 0.0}
    other = images[1].copy()
    other.calc = SinglePointCalculator(other, **results)
    write(out, [*images, other])
    code, _, err = nepal("import", out, "-c", path)
    assert code == 2
    assert f"Frames 1 and 3 of `{out}` are the same structure" in err


def test_import_of_other_physics_is_refused(tmp_path, frames, nepal, write_campaign):
    path = write_campaign(tmp_path, seeds={"n": 0, "n_atoms": 8})
    out = tmp_path / "train.xyz"
    images = read(frames, ":")
    for atoms in images:
        atoms.calc = LennardJones(sigma=2.3, epsilon=0.4, rc=5.0)
        atoms.get_potential_energy()
        atoms.get_stress()
    write(out, images)
    code, _, err = nepal("import", out, "-c", path)
    assert code == 2
    assert "not of the campaign's physics" in err
