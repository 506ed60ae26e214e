"""Writing and looking through campaigns from the command line."""

import pytest

from nepal_flows.campaign import read_campaign


def test_init_then_plan(files, nepal):
    code, out, _ = nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    assert code == 0
    assert "labels by emt" in out
    code, out, _ = nepal("plan", "c.yaml")
    assert code == 0
    for part in ("nep.in:", "cutoff", "ramp", "labels", "Forecast", "emt", "Nothing speaks"):
        assert part in out


def test_init_takes_several_structures(files, nepal):
    code, _, _ = nepal(
        "init", "--structure", "Cu.vasp", "Si.vasp", "--out", "c.yaml", "--labels", "cp2k"
    )
    assert code == 0
    assert read_campaign("c.yaml").structure_names == ("Cu", "Si")


def test_init_and_plan_need_no_more_than_a_structure(files, nepal):
    assert nepal("init", "Cu.vasp", "--overwrite")[0] == 0
    code, out, _ = nepal("plan", "--brief")
    assert code == 0
    assert "Campaign Cu" in out


def test_init_names_the_missing_structure(files, nepal):
    code, out, err = nepal("init", "--structure", "Ni.vasp")
    assert code == 2
    assert "Ni.vasp" in err
    assert out == ""


def test_plan_as_json_holds_the_exact_inputs(files, nepal, nepal_json):
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    document = nepal_json("plan", "c.yaml")
    assert document["schema"] == "nepal/plan/1"
    assert "cutoff" in document["nep_in"]
    assert document["needs"][0]["n_projection"] == 540
    assert document["forecast"]["n_labels"][0] <= document["forecast"]["n_labels"][1]
    assert document["problems"] == []
    assert "emt" in document["label_input"]


def test_plan_refuses_nonsense(files, nepal):
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    text = (files / "c.yaml").read_text().replace("time_step_fs: 2.5", "time_step_fs: 15", 1)
    (files / "c.yaml").write_text(text)
    code, out, _ = nepal("plan", "c.yaml")
    assert code == 2
    assert "This cannot run" in out
    assert "too long for Cu" in out


def test_run_refuses_what_plan_refuses(files, nepal):
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    text = (files / "c.yaml").read_text().replace("time_step_fs: 2.5", "time_step_fs: 15", 1)
    (files / "c.yaml").write_text(text)
    code, _, err = nepal("run", "c.yaml")
    assert code == 2
    assert "too long for Cu" in err
    assert not (files / "Cu").exists()


def test_unknown_calculator_is_refused_before_anything_runs(files, nepal):
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    text = (files / "c.yaml").read_text().replace("calculator: emt", "calculator: emtt")
    (files / "c.yaml").write_text(text)
    for command in ("plan", "run"):
        code, _, err = nepal(command, "c.yaml")
        assert code in (2, 3)
        assert "emtt" in err
        assert "Traceback" not in err
    assert not (files / "Cu").exists()


@pytest.mark.parametrize("command", ["plan", "run"])
def test_unknown_key_is_named_with_its_neighbour(files, nepal, command):
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    text = (files / "c.yaml").read_text().replace("gamma_low", "gama_low")
    (files / "c.yaml").write_text(text)
    code, _, err = nepal(command, "c.yaml")
    assert code == 2
    assert "did you mean `gamma_low`" in err
    assert "line" in err


@pytest.mark.parametrize("command", ["status", "report"])
def test_campaign_that_never_ran_is_named(files, nepal, command):
    code, _, err = nepal(command)
    assert code == 2
    assert "No campaign has run" in err
    nepal("init", "--structure", "Cu.vasp", "--out", "c.yaml")
    code, _, err = nepal(command, "c.yaml")
    assert code == 2
    assert "has not run" in err


def test_unknown_query_is_refused(files, nepal):
    code, _, err = nepal("query", "labels", "--role", "x")
    assert code == 2
    assert "No campaign" in err
