"""Reading campaign files: what is refused, and how well the message helps."""

import pytest

from nepal_flows.campaign import Campaign, load_campaign, read_campaign
from nepal_flows.campaign.file import campaign_directory, parsed_file
from nepal_flows.errors import CampaignError


def refusal(path):
    with pytest.raises(CampaignError) as caught:
        read_campaign(path)
    return str(caught.value)


def test_elements_and_defaults_are_filled_in(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    assert loaded.campaign.model.elements == ("Cu",)
    assert loaded.campaign.structure_names == ("Cu",)
    assert loaded.campaign.exploration.gamma_low == 5.0
    assert loaded.campaign.exploration.gamma_stop is None
    assert loaded.structures[0].n_atoms == 4


def test_content_survives_json(folder):
    campaign = read_campaign(folder / "campaign.yaml")
    assert Campaign.model_validate(campaign.model_dump(mode="json")) == campaign


def test_mixed_elements_become_elements_of_the_model(edited):
    path = edited(("start: {n_atoms: 32}", "start: {n_atoms: 32, mix: {elements: [Cu, Au]}}"))
    assert read_campaign(path).model.elements == ("Cu", "Au")


@pytest.mark.parametrize(
    ("wrong", "right", "line"),
    [
        (("  time_step_fs: 2.5", "  timestep_fs: 2.5"), "did you mean `time_step_fs`", "line 6"),
        (("calculator: emt", "calculater: emt"), "did you mean `calculator`", "line 12"),
        (("cutoff_A", "cutoff"), "did you mean `cutoff_A`", "line 4"),
        (("steps: 3000", "steps: 3000, stepz: 1"), "did you mean `steps`", "line 11"),
        (("name: quick", "name: quick\nmodle: {}"), "did you mean `model`", "line 3"),
        (("n_atoms: 32", "n_atoms: 32, clean_rounds: 2"), "belongs to `convergence`", "line 9"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_and_its_line(edited, wrong, right, line):
    message = refusal(edited(wrong))
    assert "is not a key here" in message
    assert right in message
    assert line in message
    assert "a problem" in message


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("[5.0, 4.0]", "[4.0, 5.0]"), "3 <= angular <= radial <= 10"),
        (("[5.0, 4.0]", "[12.0, 4.0]"), "3 <= angular <= radial <= 10"),
        (("[5.0, 4.0]", "[5.0, 2.0]"), "3 <= angular <= radial <= 10"),
        (("cutoff_A: [5.0, 4.0]", "n_max: [13, 4]"), "0 to 12 and 0 to 8"),
        (("cutoff_A: [5.0, 4.0]", "l_max: [9, 0, 0]"), "l from 1 to 8"),
        (("cutoff_A: [5.0, 4.0]", "neuron: 500"), "less than or equal to 120"),
        (("cutoff_A: [5.0, 4.0]", "elements: [Cu, Xx]"), "`Xx` is not a chemical element"),
        (("cutoff_A: [5.0, 4.0]", "elements: [Cu, au]"), "Did you mean `Au`"),
        (("cutoff_A: [5.0, 4.0]", "elements: [Au]"), "lacks Cu of structure `Cu`"),
        (("cutoff_A: [5.0, 4.0]", "elements: [Cu, Cu]"), "name each element once"),
        (("cutoff_A: [5.0, 4.0]", "elements: [Cu, No]"), "YAML reads this symbol as `False`"),
        (("steps: 3000", "steps: many"), "valid integer"),
        (("steps: 3000", "steps: 3"), "no frame would be graded"),
        (("steps: 3000", "temperature_K: 300"), "twice"),
        (("{n_atoms: 32}", "{n_atoms: 32, supercell: [2, 2, 2]}"), "`n_atoms` or `supercell`"),
        (("{n_atoms: 32}", "{structure: Ni}"), "there is no structure `Ni`"),
        (("{n_atoms: 32}", "{structure: 4}"), "indices are 0 to 0"),
        (("{n_atoms: 32}", "{mix: {elements: [Ag, Au]}}"), "holds none of Ag, Au"),
        (("calculator: emt", "time_limit_s: -1"), "greater than 0"),
        (("code: ase", "code: siesta"), "'ase', 'espresso', 'cp2k', 'vasp'"),
        (("code: ase, calculator: emt", "code: espresso"), "names no file for Cu"),
        (("code: ase, calculator: emt", "code: cp2k"), "is not `folded`"),
        (("version: 1", "version: 2"), "should be 1"),
        (("name: quick", "name: ../quick"), "match pattern"),
        (("[Cu.vasp]", "[]"), "at least 1 item"),
        (("[Cu.vasp]", "[Cu.vasp, Cu.vasp]"), "give each its own `name`"),
        (("[Cu.vasp]", "[{file: Cu.vasp, frame: 3}]"), "has 1 frames, but `frame` is 3"),
        (("name: quick", "name: quick\nbudget: {labels: 3}"), "fewer than the 8 seeds"),
        (("name: quick", "name: quick\nseed: .nan"), "finite"),
        (("time_step_fs: 2.5", "time_step_fs: .nan"), "finite"),
    ],
)
def test_wrong_value_is_refused_with_what_was_expected(edited, wrong, expected):
    message = refusal(edited(wrong))
    assert expected in message
    assert "line" in message


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("n_atoms: 32", "n_atoms: 1000000000"), "or equal to 1000000, but is 1000000000\n"),
        (("n_atoms: 32", "supercell: [1000, 1000, 1000]"), "asks for 4000000000 atoms"),
        (("n_atoms: 32", "n_atoms: 999999"), "3 times more in the confirmation"),
        (("steps: 3000", "steps: 1000000000000"), "or equal to 1000000000"),
        (("steps: 3000}", "steps: 3000}\n      replicas: 1000000"), "or equal to 100000"),
        (("cutoff_A: [5.0, 4.0]", "neuron: 1000000"), "or equal to 120"),
        (("name: quick", "name: quick\ntraining: {batch_atoms: 1000000000}"), "equal to 1000000"),
        (("name: quick", "name: quick\ntraining: {adam_steps: 1000000000}"), "equal to 10000000"),
        (("name: quick", "name: quick\nbudget: {labels: 10000000}"), "or equal to 1000000"),
        (("name: quick", "name: quick\nseeds: {n: 1000000}"), "or equal to 100000"),
        (("name: quick", "name: quick\nresources: {workers: 10000}"), "or equal to 1024"),
        (("name: quick", "name: quick\nconfirmation: {size_factor: 1.0e+6}"), "equal to 10000"),
    ],
)
def test_absurd_size_is_refused_at_once(edited, wrong, expected):
    message = refusal(edited(wrong)) + "\n"
    assert expected in message
    assert "line" in message
    assert "valid tuple" not in message


def test_folder_of_a_campaign_asks_for_its_name_alone(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_text("name: quick\nstructures: [gone.vasp]\nnonsense: 1\n")
    assert campaign_directory(path) == tmp_path / "quick"
    path.write_text("name: ../x\n")
    with pytest.raises(CampaignError, match=r"`name` '\.\./x'; expected letters"):
        campaign_directory(path)
    with pytest.raises(CampaignError, match="There is no campaign file"):
        campaign_directory(tmp_path / "nowhere.yaml")


def test_missing_structure_is_refused(edited):
    message = refusal(edited(("[Cu.vasp]", "[Ni.vasp]")))
    assert "There is no file" in message
    assert "Ni.vasp" in message


def test_unreadable_structure_is_refused(edited, folder):
    (folder / "bad.vasp").write_text("this is not a POSCAR\n1\n")
    message = refusal(edited(("[Cu.vasp]", "[bad.vasp]")))
    assert "bad.vasp` cannot be read" in message


def test_all_problems_are_listed_at_once(edited):
    message = refusal(
        edited(
            ("[Cu.vasp]", "[Ni.vasp]"),
            ("[5.0, 4.0]", "[4.0, 5.0]"),
            ("steps: 3000", "stepz: 3000"),
            ("calculator: emt", "calculator: 7"),
        )
    )
    assert "has 5 problems" in message
    for part in ("Ni.vasp", "cutoff_A", "did you mean `steps`", "is missing", "valid string"):
        assert part in message


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]", "a: [1, 2", "\t- x: y"])
def test_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "campaign.yaml"
    path.write_text(text)
    assert "campaign.yaml" in refusal(path)


def test_binary_file_is_refused(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    assert "campaign.yaml" in refusal(path)


def test_anchor_that_contains_itself_is_refused(tmp_path):
    (tmp_path / "campaign.yaml").write_text("a: &x {b: *x}")
    assert "contains itself" in refusal(tmp_path / "campaign.yaml")


def test_missing_file_names_the_command_that_writes_one(tmp_path):
    assert "nepal init" in refusal(tmp_path / "nowhere.yaml")


def test_folded_labels_accept_diagonal_multiples_of_one_cell(edited):
    folded = "{code: espresso, pseudopotentials: {Cu: Cu.upf}, kpoints: {mode: folded}}"
    path = edited(
        ("{code: ase, calculator: emt}", folded),
        ("{n_atoms: 32}", "{n_atoms: 8, mode: folded}"),
        ("name: quick", "name: quick\nseeds: {n_atoms: [2, 8], mode: folded}"),
    )
    assert read_campaign(path).labels.kpoints.grid == (6, 6, 6)


def test_anchors_that_repeat_one_another_are_refused_and_not_followed(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path = tmp_path / "campaign.yaml"
    path.write_text("\n".join(lines))
    with pytest.raises(CampaignError, match="more than 200000 keys"):
        parsed_file(path)
