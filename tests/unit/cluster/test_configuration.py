"""What `nepal init --cluster` writes is what FireWorks, SLURM and jobflow read."""

import json
import stat
import sys
from pathlib import Path

import pytest
import typer
import yaml
from fireworks import FWorker, fw_config
from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter
from jobflow import JobStore
from maggma.stores import GridFSStore, MongoStore

from nepal_flows.cli.app import run_app
from nepal_flows.cli.cluster_init import _answer
from nepal_flows.cluster.configuration import (
    KINDS,
    ClusterAnswers,
    cluster_answers,
    cluster_files,
    questions,
    write_cluster_files,
)
from nepal_flows.errors import SettingsError

ROOT = Path(__file__).parents[3]
ANSWERS = ClusterAnswers(
    host="db.example.org", user="anna", account="proj", activate="module load x"
)


@pytest.fixture
def written(tmp_path):
    write_cluster_files(ANSWERS, tmp_path)
    return tmp_path


def test_examples_of_the_repository_are_what_the_command_writes(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "docs" / "reference"), *sys.path])
    from make_cluster_configs import example_files

    there = {
        file.relative_to(ROOT / "fireworker_configs").as_posix(): file.read_text()
        for file in (ROOT / "fireworker_configs").glob("*/*")
    }
    assert there == example_files()


def test_no_file_holds_a_secret_and_those_for_one_are_the_users_alone(written):
    for file in written.glob("*/*.yaml"):
        if file.name in ("my_launchpad.yaml", "jobflow.yaml"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for line in file.read_text().splitlines():
            if not line.lstrip().startswith("#") and "password:" in line:
                assert line.split("password:")[1].strip()[:1] in ("", "#")


@pytest.mark.parametrize("kind", KINDS)
def test_queue_script_asks_for_the_right_node(written, kind):
    content = yaml.safe_load((written / kind / "my_qadapter.yaml").read_text())
    adapter = CommonAdapter.from_dict(content)
    script = adapter.get_script_str(str(written))
    partition = {"gpu": "gpu", "dft": "cpu", "cpu": "cpu"}[kind]
    assert f"#SBATCH --partition={partition}\n" in script
    assert "#SBATCH --account=proj\n" in script
    assert "#SBATCH --time=24:00:00\n" in script
    assert "#SBATCH --signal=B:TERM@120\n" in script
    assert ("#SBATCH --gpus-per-node=1\n" in script) == (kind == "gpu")
    assert ("#SBATCH --ntasks=32\n" in script) == (kind == "dft")
    assert "module load x\n" in script
    assert f"exec rlaunch -c {written}/{kind} " in script
    assert f"export JOBFLOW_CONFIG_FILE={written}/{kind}/jobflow.yaml" in script
    assert "$${" not in script


@pytest.mark.parametrize("kind", KINDS)
def test_worker_has_the_name_that_jobs_are_sent_to(written, kind):
    assert FWorker.from_file(str(written / kind / "my_fworker.yaml")).name == kind


@pytest.mark.parametrize("kind", ["login", *KINDS])
def test_fireworks_knows_every_key_of_its_configuration(written, kind):
    content = yaml.safe_load((written / kind / "FW_config.yaml").read_text())
    assert set(content) <= set(vars(fw_config))
    assert content["CONFIG_FILE_DIR"] == str(written / kind)


@pytest.mark.parametrize("kind", ["login", *KINDS])
def test_jobflow_makes_its_stores_from_the_file(written, kind):
    spec = yaml.safe_load((written / kind / "jobflow.yaml").read_text())["JOB_STORE"]
    store = JobStore.from_dict_spec(spec)
    assert set(store.additional_stores) == {"records", "blobs", "data"}
    assert isinstance(store.additional_stores["records"], MongoStore)
    assert isinstance(store.additional_stores["blobs"], GridFSStore)
    records = store.additional_stores["records"]
    assert (records.host, records.username, records.auth_source) == (
        "db.example.org",
        "anna",
        "nepal_flows",
    )
    assert records.mongoclient_kwargs["serverSelectionTimeoutMS"] == (
        5000 if kind == "login" else 120000
    )


def test_launchpad_is_the_same_everywhere_but_for_patience(written):
    found = [
        yaml.safe_load((written / kind / "my_launchpad.yaml").read_text())
        for kind in ("login", *KINDS)
    ]
    for content in found:
        del content["mongoclient_kwargs"]
        assert content == found[0]
    assert found[0]["username"] == "anna"
    assert found[0]["password"] is None


def test_files_that_are_there_stay_unless_they_may_be_replaced(written):
    with pytest.raises(SettingsError, match="is there already"):
        write_cluster_files(ANSWERS, written)
    write_cluster_files(ClusterAnswers(host="other"), written, overwrite=True)
    assert "host: other" in (written / "gpu" / "my_launchpad.yaml").read_text()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("hots=a", "is not one of the questions.*host"),
        ("host", "NAME=VALUE"),
        ("port=many", "`port` is 'many'"),
        ("host=mongodb://anna:s3cret@db:27017", "`host` is not the name of a machine"),
        ("gpu_walltime=a day", "`gpu_walltime` is 'a day'"),
    ],
)
def test_wrong_answer_is_refused_with_what_is_expected(given, message):
    with pytest.raises(SettingsError, match=message):
        cluster_answers([given])


def test_short_walltime_leaves_time_to_end():
    files = cluster_files(cluster_answers(["cpu_walltime=1-02:00:00"]), "/x")
    assert "--timeout 93000\n" in files["cpu/my_qadapter.yaml"]
    files = cluster_files(cluster_answers(["cpu_walltime=0:05:00"]), "/x")
    assert "--timeout 60\n" in files["cpu/my_qadapter.yaml"]


def test_every_question_has_words():
    assert all(question for _, question, _ in questions())


def test_command_writes_folders_and_says_how_to_go_on(tmp_path, capsys):
    out = tmp_path / "configs"
    arguments = ["init", "--cluster", "--out", str(out), "--set", "host=db", "--set", "user=anna"]
    assert run_app(arguments) == 0
    text = capsys.readouterr().out
    assert f"source {out}/login/env.sh" in text
    assert "write your password" in text
    assert run_app([*arguments, "--overwrite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["choices"]["host"] == "db"
    assert len(document["files"]) == 19
    assert run_app(arguments) == 2


def test_question_is_asked_again_until_its_answer_can_be_used(monkeypatch, capsys):
    answers = iter(["24h", "1-00:00:00"])
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(answers))
    assert _answer("gpu_walltime", "Longest run there", "24:00:00") == "gpu_walltime=1-00:00:00"
    assert "`gpu_walltime` is '24h'" in capsys.readouterr().err
