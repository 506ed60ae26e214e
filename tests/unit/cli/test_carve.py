"""`nepal carve`: options reach the library, errors are one line."""

import json
from pathlib import Path

import pytest
from ase.io import read


@pytest.fixture
def parents(carving_files, monkeypatch):
    """The folder with a rough model of copper, its active set, and crystals with a hole."""
    monkeypatch.chdir(carving_files)


ARGUMENTS = ("carve", "nep.txt", "active_set.asi", "graded.xyz", "--out", "f.xyz")


def test_fragments_json_and_page_agree(parents, nepal_json):
    document = nepal_json(
        *ARGUMENTS, "--method", "naive", "--budget", "1", "--report", "page", "--keep-rejected",
        "--train", "train.xyz",
    )  # fmt: skip
    assert document["schema"] == "nepal/carve/1"
    (fragment,) = document["fragments"]
    (atoms,) = read("f.xyz", ":")
    assert fragment["n_atoms"] == len(atoms)
    assert fragment["centre"] == atoms.info["centre"]
    assert fragment["method"] == "naive"
    assert "<svg" in Path("page/carving.html").read_text()
    json.dumps(document)


def test_lines_say_what_became_of_every_centre(parents, nepal):
    code, out, _ = nepal(*ARGUMENTS, "--method", "naive", "--budget", "1", "--keep-rejected")
    assert code == 0
    assert "unknown atoms in 2 frames" in out


def test_short_core_is_warned_of(parents, nepal):
    code, _, notes = nepal(
        *ARGUMENTS, "--method", "naive", "--budget", "1", "--keep-rejected", "--core", "4"
    )
    assert code == 0
    assert "shorter than the cutoff of 5 Å" in notes


def test_bad_input_is_one_line(parents, nepal):
    for extra, words in (
        (("--max-atoms", "20"), "more than 20"),
        (("--formula", "copper"), "no formula"),
        (("--formula", "Cu", "--charges", "Cu:1"), "not both"),
        (("--core", "-1"), "positive length"),
    ):
        code, _, error = nepal(*ARGUMENTS, *extra)
        assert code == 2
        assert words in error
        assert "Traceback" not in error
    code, _, error = nepal(*ARGUMENTS[:3], "parents.xyz", "--out", "f.xyz")
    assert code == 2
    assert "--grade" in error
