"""The tutorials are run as they stand: every shell and Python block, in order, in one folder."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nepal_flows

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Run the blocks of pages of the documentation; return what the shell printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(nepal_flows.__file__).parents[1]))
    monkeypatch.setenv("NEPAL_STORE", "embedded")

    def run(*pages):
        printed = []
        for page in pages:
            text = (ROOT / "docs" / page).read_text(encoding="utf-8")
            namespace = {}
            for block in BLOCK.finditer(text):
                language, code = block.groups()
                line = text.count("\n", 0, block.start()) + 2
                if language == "python":
                    exec(compile("\n" * (line - 1) + code, page, "exec"), namespace)
                    continue
                shell = ["bash", "-euo", "pipefail", "-c", code]
                done = subprocess.run(shell, check=False, capture_output=True, text=True)
                assert done.returncode == 0, f"{page}, line {line}:\n{done.stdout}{done.stderr}"
                printed.append(done.stdout)
        return "".join(printed)

    return run


def test_quickstart_converges_and_its_store_answers(follow, tmp_path):
    shutil.copytree(ROOT / "workflows", tmp_path / "workflows")
    printed = follow("tutorials/quickstart.md", "how-to/query-the-store.md")
    assert "quickstart-copper: converged" in printed
    assert (tmp_path / "workflows" / "quickstart-copper" / "report.html").is_file()
    assert (tmp_path / "copper" / "nep.txt").is_file()


def test_existing_data_become_part_of_a_campaign(follow, tmp_path):
    printed = follow("tutorials/existing-data.md")
    assert "5 of 5 frames labelled" in printed
    assert "40 frames imported into copper" in printed
    assert re.search("copper: (converged|budget spent)", printed)
    assert (tmp_path / "bundle" / "train.xyz").is_file()


def test_own_calculators_label(follow):
    printed = follow("how-to/own-calculator.md")
    assert printed.count("consistent") == 2


@pytest.mark.dft
def test_silicon_is_labelled_by_pw_and_goes_on_with_a_larger_budget(follow, tmp_path):
    if shutil.which("pw.x") is None:
        pytest.skip("pw.x is not installed")
    printed = follow("tutorials/silicon.md")
    assert "consistent" in printed
    assert "rounds      2" in printed
    assert (tmp_path / "silicon" / "report.html").is_file()
    assert (tmp_path / "bundle" / "nep.txt").is_file()
