"""`nepal force-constants` on frames of argon."""

import json

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from phonopy.file_IO import parse_FORCE_CONSTANTS

from nepal_flows.cli.app import run_app


@pytest.fixture
def files(tmp_path):
    ideal = bulk("Ar", a=5.31, cubic=True) * (2, 2, 2)
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        atoms = ideal.copy()
        atoms.positions += rng.normal(0.0, 0.05, (len(atoms), 3))
        atoms.calc = LennardJones(sigma=3.405, epsilon=0.0104, rc=5.1, ro=4.4, smooth=True)
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    write(tmp_path / "ideal.vasp", ideal)
    write(tmp_path / "frames.xyz", frames)
    return tmp_path


def run(files, capsys, *more):
    arguments = ["force-constants", str(files / "ideal.vasp"), str(files / "frames.xyz")]
    code = run_app([*arguments, "--out", str(files / "out"), *more])
    return code, capsys.readouterr()


def test_frequencies_and_errors_are_told_and_written(files, capsys):
    cutoffs = ("--cutoff", "4", "--cutoff", "4", "--cutoff", "4")
    code, printed = run(files, capsys, *cutoffs, "--temperature", "20", "--samples", "3")
    assert code == 0
    assert "held out (cross-validation): 0." in printed.out
    assert "anharmonicity at 20 K" in printed.out
    assert (files / "out" / "force_constants.fcp").stat().st_size > 100
    content = json.loads((files / "out" / "force_constants.json").read_text())
    longitudinal = content["frequencies_THz"][list(content["points"]).index("X")][2]
    assert 1.7 < longitudinal < 2.1
    assert 0.1 < content["vibrations"][0]["anharmonicity"] < 0.5
    assert content["training_rmse"] < content["holdout_rmse"] < 1e-3
    assert 0.5 < content["calibration"] < 2.0


def test_frames_of_other_dynamics_give_frequencies_and_phonopys_file(files, capsys):
    """The frames of the fit as those of a temperature: their harmonic model is the fit itself."""
    thermal = ("--thermal", f"20:{files / 'frames.xyz'}")
    code, printed = run(files, capsys, "--cutoff", "4", *thermal, "--json")
    assert code == 0
    content = json.loads(printed.out)
    assert content["parameters_by_order"][0] > 0
    (warm,) = content["vibrations"]
    assert (warm["temperature_K"], warm["n_frames"]) == (20.0, 6)
    assert warm["anharmonicity"] == pytest.approx(content["anharmonicity"])
    np.testing.assert_allclose(warm["frequencies_THz"], content["frequencies_THz"], atol=1e-6)
    at_rest, at_20K = (
        parse_FORCE_CONSTANTS(str(files / "out" / name))
        for name in ("FORCE_CONSTANTS", "FORCE_CONSTANTS_20K")
    )
    assert at_rest.shape == (32, 32, 3, 3)
    np.testing.assert_allclose(at_20K, at_rest, atol=1e-8)
    np.testing.assert_allclose(at_rest.sum(axis=1), 0.0, atol=1e-8)


@pytest.mark.parametrize("given", ["300", "hot:frames.xyz", "-5:frames.xyz", "300:"])
def test_thermal_frames_need_a_temperature_and_a_file(files, capsys, given):
    code, printed = run(files, capsys, "--cutoff", "4", f"--thermal={given}")
    assert code == 2
    assert "must be a temperature and a file" in printed.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--cutoff", "9"), "would meet its own image"),
        (("--cutoff", "4", "--cutoff", "1"), "no parameter of order 3"),
    ],
)
def test_wrong_cutoffs_are_refused_with_the_remedy(files, capsys, options, words):
    code, printed = run(files, capsys, *options)
    assert code == 2
    assert words in printed.err
    assert not (files / "out").exists()


def test_frames_of_another_cell_are_refused(files, capsys):
    write(files / "ideal.vasp", bulk("Ar", a=5.31, cubic=True) * (3, 2, 2))
    code, printed = run(files, capsys, "--cutoff", "4")
    assert code == 2
    assert "this structure of 32 atoms is another" in printed.err
