"""Structures to label, codes that replay recorded output, and one pool for all tests."""

import gzip
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.core.structure import Structure
from nepal_flows.engines.pool import WorkerPool
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.labelers import Cp2kLabeler, EspressoLabeler, KPointRule

DATA = Path(__file__).parents[2] / "data"
STANDINS = Path(__file__).parents[2] / "standins"
sys.path.insert(0, str(STANDINS))

REPLAY = """#!{python}
import sys
from pathlib import Path
given = sys.argv[sys.argv.index("-i") + 1 if "-i" in sys.argv else sys.argv.index("-in") + 1]
lines = [line for line in Path(given).read_text().splitlines() if "pseudo_dir" not in line]
expected = [line for line in Path({input!r}).read_text().splitlines() if "pseudo_dir" not in line]
if lines != expected:
    print("error: the input differs:", set(lines) ^ set(expected))
    sys.exit(3)
output = Path({output!r}).read_text()
if "-o" in sys.argv:
    Path(sys.argv[sys.argv.index("-o") + 1]).write_text(output)
else:
    print(output, end="")
sys.exit({code})
"""


@pytest.fixture(scope="session")
def pool():
    with WorkerPool(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def silicon() -> Structure:
    """Return the primitive cell."""
    return structure_from_atoms(bulk("Si", a=5.47))


@pytest.fixture(scope="session")
def rattled(silicon) -> Structure:
    """Return the cell that the recorded outputs belong to."""
    atoms = bulk("Si", a=5.47)
    atoms.rattle(0.05, seed=1)
    return structure_from_atoms(atoms)


@pytest.fixture
def copper() -> Structure:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=2)
    return structure_from_atoms(atoms)


@pytest.fixture(scope="session")
def recorded():
    """Return a function that reads a recorded input or output."""

    def read(name: str) -> str:
        if not name.endswith(".gz"):
            return (DATA / name).read_text()
        with gzip.open(DATA / name, "rt") as file:
            return file.read()

    return read


@pytest.fixture
def replay(tmp_path, recorded):
    """Return a function that makes a program which checks its input and replays an output."""

    def make(input_name: str, output_name: str, *, code: int = 0) -> str:
        output = tmp_path / "recorded.out"
        output.write_text(recorded(output_name))
        program = tmp_path / f"replay-{code}"
        program.write_text(
            REPLAY.format(
                python=sys.executable, input=str(DATA / input_name), output=str(output), code=code
            )
        )
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return str(program)

    return make


@pytest.fixture
def cp2k_data(tmp_path) -> Path:
    directory = tmp_path / "cp2k"
    directory.mkdir()
    (directory / "BASIS_MOLOPT").write_text(
        "# comment\nSi  DZVP-MOLOPT-SR-GTH DZVP-MOLOPT-SR-GTH-q4\n  1\n  2 0 1 1 2\n  1.5 0.1 # x\n"
        "Si  TZVP-MOLOPT-GTH\n  1\n  2 0 1 1 3\n#\nS DZVP-MOLOPT-SR-GTH\n  9\n"
    )
    (directory / "GTH_POTENTIALS").write_text(
        "Si GTH-PBE-q4 GTH-PBE\n    2    2\n     0.44\nS GTH-PBE-q6 GTH-PBE\n 2 4\n"
    )
    return directory


@pytest.fixture
def pseudo_directory(tmp_path) -> Path:
    directory = tmp_path / "pseudo"
    directory.mkdir()
    (directory / "Si.pbe-rrkj.UPF").write_text("<PP_HEADER>\n   Si     Element\n</PP_HEADER>\n")
    (directory / "C.pbe.UPF").write_text('<PP_HEADER element="C "/>\n')
    return directory


@pytest.fixture
def cp2k(silicon, cp2k_data) -> Cp2kLabeler:
    rule = KPointRule.folded(silicon, grid=(4, 4, 4), offset=(True,) * 3)
    return Cp2kLabeler(rule, elements=["Si"], data_directory=str(cp2k_data))


@pytest.fixture
def espresso(silicon, pseudo_directory) -> EspressoLabeler:
    return EspressoLabeler(
        KPointRule.folded(silicon, grid=(4, 4, 4), offset=(True,) * 3),
        {"Si": "Si.pbe-rrkj.UPF"},
        str(pseudo_directory),
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
