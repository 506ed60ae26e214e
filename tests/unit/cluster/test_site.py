"""Passwords of a site stay where they are, and are nobody else's to read."""

import pytest

from nepal_flows.cluster.configuration import ClusterAnswers, write_cluster_files
from nepal_flows.cluster.doctor.site import configuration_files, open_secrets
from nepal_flows.cluster.launchpad import site_launchpad
from nepal_flows.errors import SettingsError


@pytest.mark.parametrize(
    "line",
    [
        "password: s3cret",
        'additional_stores: {records: {"password": "s3cret"}}',
        "password: '#s3cret'",
        "password: nullify",
        "uri: mongodb://anna:s3cr/et@db/",
        "host: mongodb+srv://anna:s3cret@db",
    ],
)
def test_password_in_any_form_is_found(tmp_path, line):
    file = tmp_path / "jobflow.yaml"
    file.write_text(f"host: db\n{line}\n")
    file.chmod(0o640)
    assert len(list(open_secrets([file]))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "password:",
        "password: # yours",
        "password: ''",
        "# password: x",
        "password: null",
        "password: ~  # none",
        "{password: null, port: 1}",
    ],
)
def test_place_for_a_password_is_none(tmp_path, line):
    file = tmp_path / "jobflow.yaml"
    file.write_text(f"host: mongodb://db:27017/\n{line}\n")
    file.chmod(0o640)
    assert list(open_secrets([file])) == []


def test_files_of_all_workers_are_looked_at(tmp_path, monkeypatch):
    write_cluster_files(ClusterAnswers(), tmp_path)
    login = tmp_path / "login"
    monkeypatch.setenv("JOBFLOW_CONFIG_FILE", str(login / "jobflow.yaml"))
    monkeypatch.setenv("FW_CONFIG_FILE", str(login / "FW_config.yaml"))
    monkeypatch.setenv("NEPAL_LAUNCHPAD_FILE", str(login / "my_launchpad.yaml"))
    found = {str(file.relative_to(tmp_path)) for file in configuration_files()}
    kinds = ("login", "gpu", "dft", "cpu")
    names = ("my_launchpad.yaml", "jobflow.yaml")
    assert found == {f"{kind}/{name}" for kind in kinds for name in names} | {
        "login/FW_config.yaml"
    }


def test_launchpad_file_that_is_not_yaml_is_told_without_its_password(tmp_path):
    file = tmp_path / "my_launchpad.yaml"
    file.write_text("host: db\npassword: @s3cret\n")
    with pytest.raises(SettingsError, match=r"see its line 2.*between quotes") as error:
        site_launchpad(file)
    assert "s3cret" not in str(error.value)
    assert error.value.__suppress_context__
