"""The reference pages say what the sources say."""

import re
import runpy
from pathlib import Path

from nepal_flows.cli.app import app

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def made_by(script):
    return runpy.run_path(str(REFERENCE / script))


def test_page_of_commands_is_current():
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    assert page == made_by("make_cli.py")["format_page"](page), (
        "run `python docs/reference/make_cli.py`"
    )


def test_page_of_commands_has_every_option_that_help_shows(capsys):
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    for name, _ in made_by("make_cli.py")["all_commands"](app):
        section = page.split(f"### nepal {name}\n")[1].split("\n###")[0]
        app([*name.split(), "--help"], standalone_mode=False)
        shown = re.findall(r"^  (?:-\w, )?(--[\w-]+)", capsys.readouterr().out, re.MULTILINE)
        assert "--help" in shown
        for option in set(shown) - {"--help"}:
            assert f"`{option}`" in section, f"{name} {option}"


def test_page_of_python_is_current():
    page = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert page == made_by("make_python.py")["format_page"](), (
        "run `python docs/reference/make_python.py`"
    )


def test_every_public_name_of_the_page_of_python_is_explained():
    lines = (REFERENCE / "python.md").read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("#### ")]
    assert len(starts) > 200
    for start in starts:
        after = lines[lines.index("```", start) + 2]
        assert after.endswith("."), lines[start]
