"""Settings come from arguments, environment, file and defaults, in this order."""

import os
import subprocess
import sys

import pytest

from nepal_flows.errors import SettingsError
from nepal_flows.settings import Settings, read_settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("NEPAL_") or name in {"ATOMATE2_CP2K_CMD", "ESPRESSO_PSEUDO"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".nepal_flows.yaml"


def test_order_is_argument_environment_file_default(file, monkeypatch):
    assert read_settings().memory_limit_MB == 2000
    file.write_text("memory_limit_MB: 300\nn_threads: 3\n")
    assert read_settings().memory_limit_MB == 300
    monkeypatch.setenv("NEPAL_MEMORY_LIMIT_MB", "400")
    assert read_settings().memory_limit_MB == 400
    assert read_settings(memory_limit_MB=500).memory_limit_MB == 500
    assert read_settings(memory_limit_MB=None).memory_limit_MB == 400
    assert read_settings().n_threads == 3


def test_file_may_lie_elsewhere(file, tmp_path, monkeypatch):
    (tmp_path / "other.yaml").write_text("n_workers: 7\n")
    monkeypatch.setenv("NEPAL_SETTINGS_FILE", str(tmp_path / "other.yaml"))
    assert read_settings().n_workers == 7
    monkeypatch.setenv("NEPAL_SETTINGS_FILE", str(tmp_path / "missing.yaml"))
    with pytest.raises(SettingsError, match="does not exist"):
        read_settings()


def test_unknown_key_in_the_file_is_refused_with_the_nearest(file):
    file.write_text("n_worker: 2\n")
    with pytest.raises(SettingsError, match=r"`n_worker` is an unknown key.*`n_workers`"):
        read_settings()


def test_unknown_variable_is_refused_with_the_nearest(file, monkeypatch):
    monkeypatch.setenv("NEPAL_PSEUDO_DIR", "/tmp")
    with pytest.raises(SettingsError, match=r"`NEPAL_PSEUDO_DIR`.*`NEPAL_PSEUDO_DIRECTORY`"):
        read_settings()


def test_unknown_argument_is_refused(file):
    with pytest.raises(SettingsError, match="Known are `n_workers`"):
        read_settings(qqqqqq=1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_workers: 0\n", "greater than or equal to 1"),
        ("n_workers: many\n", "valid integer"),
        ("workers: {smol: a}\n", "`workers.smol` is 'a': there is no such key"),
        ("store: mongo\n", "'auto', 'jobflow' or 'embedded'"),
        ("- a list\n", "holds list"),
        ("a: [unclosed\n", "cannot be read"),
    ],
)
def test_wrong_value_is_refused_and_shown(file, text, message):
    file.write_text(text)
    with pytest.raises(SettingsError, match=message):
        read_settings()


def test_commands_of_atomate2_are_taken_over(file, monkeypatch):
    monkeypatch.setenv("ATOMATE2_CP2K_CMD", "mpirun -n 2 cp2k.popt")
    assert read_settings().cp2k_command == "mpirun -n 2 cp2k.popt"
    monkeypatch.setenv("NEPAL_CP2K_COMMAND", "cp2k.ssmp")
    assert read_settings().cp2k_command == "cp2k.ssmp"


def test_pseudopotentials_are_found_where_the_environment_says(file, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(tmp_path))
    assert read_settings().pseudo_directory == tmp_path


def test_every_setting_is_described():
    assert all(field.description for field in Settings.model_fields.values())


def test_importing_the_package_reads_no_settings(file):
    file.write_text("n_worker: 2\n")
    code = "import nepal_flows, nepal_flows.settings, nepal_flows.records"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_calculators_are_listed_with_commas_in_the_environment(monkeypatch):
    monkeypatch.setenv("NEPAL_CALCULATORS", "mine:Potential,package")
    assert read_settings().calculators == ("mine:Potential", "package")
