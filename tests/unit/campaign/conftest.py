"""A folder with starting structures and a small campaign file."""

import pytest
from ase.build import bulk
from ase.io import write

CAMPAIGN = """\
version: 1
name: quick
structures: [Cu.vasp]
model: {cutoff_A: [5.0, 4.0]}
exploration:
  time_step_fs: 2.5
  conditions:
    - name: ramp
      start: {n_atoms: 32}
      stages:
        - {temperature_K: [300, 1500], steps: 3000}
labels: {code: ase, calculator: emt}
"""


@pytest.fixture
def folder(tmp_path):
    """Cu (conventional), Au (conventional) and Si (primitive) cells, and ``campaign.yaml``."""
    write(tmp_path / "Cu.vasp", bulk("Cu", cubic=True))
    write(tmp_path / "Au.vasp", bulk("Au", cubic=True))
    write(tmp_path / "Si.vasp", bulk("Si"))
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    return tmp_path


@pytest.fixture
def edited(folder):
    """A function that replaces texts in the campaign file and returns its path."""

    def edit(*replacements):
        path = folder / "campaign.yaml"
        text = path.read_text()
        for old, new in replacements:
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return edit
