"""Files as a user has them: EMT-labelled copper, a random potential, structures."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from nepal_flows.cli.app import run_app
from nepal_flows.core.nep.model import NepArchitecture, model_from_parameters
from nepal_flows.io.nep_txt import write_nep_txt

ARCHITECTURE = NepArchitecture(("Cu",), (4.0,), (3.5,), 2, 2, 4, 4, 2, False, False, 5)
NEP_IN = """\
type 1 Cu
cutoff 4 3.5
n_max 2 2
basis_size 4 4
l_max 2 0 0
neuron 5
generation 100
"""


def labelled_frames(n_frames, amplitude, seed):
    frames = []
    for index in range(n_frames):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(amplitude, seed=seed + index)
        atoms.calc = EMT()
        atoms.get_potential_energy()
        atoms.get_stress()
        frames.append(atoms)
    return frames


def random_model(seed):
    rng = np.random.default_rng(seed)
    parameters = rng.normal(0.0, 0.3, ARCHITECTURE.n_parameters)
    scaler = np.full(ARCHITECTURE.n_descriptors, 0.1)
    return model_from_parameters(ARCHITECTURE, parameters, scaler, max_neighbours=(42, 18))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The working directory, with train.xyz, test.xyz, candidates.xyz, nep.txt, other.txt ..."""
    monkeypatch.chdir(tmp_path)
    write("train.xyz", labelled_frames(12, 0.05, 0))
    write("test.xyz", labelled_frames(4, 0.05, 50))
    write("candidates.xyz", labelled_frames(6, 0.2, 100))
    write("bare.xyz", [bulk("Cu", cubic=True)])
    write("Cu.vasp", bulk("Cu", cubic=True))
    write("Si.vasp", bulk("Si"))
    write_nep_txt(random_model(0), "nep.txt")
    write_nep_txt(random_model(1), "other.txt")
    (tmp_path / "nep.in").write_text(NEP_IN)
    return tmp_path


@pytest.fixture
def nepal(capsys):
    """Run a command; return its exit code, stdout and stderr."""

    def run(*arguments):
        code = run_app([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def nepal_json(nepal):
    """Run a command with --json; it must succeed; return the document."""

    def run(*arguments, code=0):
        actual, out, err = nepal(*arguments, "--json")
        assert actual == code, err
        return json.loads(out)

    return run
