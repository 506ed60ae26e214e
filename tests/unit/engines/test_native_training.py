"""Training from files to files."""

import json
from pathlib import Path

import numpy as np
import pytest

from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.training import TrainingSettings
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.native_training import run_native_training, training_settings
from nepal_flows.errors import EngineError, InputError, NepInputError
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_in import NepInput, read_nep_in
from nepal_flows.io.nep_outputs import read_loss, read_parity
from nepal_flows.io.nep_txt import model_sha256, read_nep_txt

NEP_IN = """type 1 Cu
version 4
cutoff 4 3
n_max 2 1
basis_size 3 3
l_max 2
neuron 3
lambda_v 0.5
population 30
"""
SHORT = TrainingSettings(n_adam_steps=5, batch_atoms=16)


@pytest.fixture
def frames() -> list[LabelledStructure]:
    rng = np.random.default_rng(0)
    data = []
    for index in range(6):
        positions = np.indices((2, 2, 2)).reshape(3, -1).T * 2.3 + 0.2 * rng.normal(size=(8, 3))
        structure = Structure(np.full(8, 29), positions, 4.6 * np.eye(3))
        virial = rng.normal(size=(3, 3))
        data.append(
            LabelledStructure(
                structure,
                -30.0 - index,
                rng.normal(size=(8, 3)),
                virial + virial.T if index else None,
            )
        )
    return data


def test_run_writes_the_files_of_nep(frames: list[LabelledStructure], tmp_path: Path) -> None:
    write_extxyz(frames[:4], tmp_path / "train.xyz")
    write_extxyz(frames[4:], tmp_path / "test.xyz")
    (tmp_path / "nep.in").write_text(NEP_IN)
    out = tmp_path / "deep" / "out"
    run = run_native_training(
        tmp_path / "nep.in",
        tmp_path / "train.xyz",
        test_frames=tmp_path / "test.xyz",
        out_directory=out,
        settings=SHORT,
    )
    quantities = ("energy", "force", "virial", "stress")
    tables = {f"{name}_{part}.out" for name in quantities for part in ("train", "test")}
    expected = tables | {"nep.txt", "loss.out", "reference_energies.json"}
    assert set(run.files) == expected
    assert {path.name for path in out.iterdir()} == expected
    assert run.ignored_keywords == ("population",)
    assert (run.n_train, run.n_test) == (4, 2)
    assert run.model_sha256 == model_sha256((out / "nep.txt").read_text())
    assert run.result.settings.lambda_v == 0.5

    model = read_nep_txt(out / "nep.txt")
    reference = json.loads((out / "reference_energies.json").read_text())["Cu"]
    energies = read_parity(out / "energy_train.out")
    forces = read_parity(out / "force_train.out")
    virials = read_parity(out / "virial_train.out")
    for index, frame in enumerate(frames[:4]):
        p = predict(model, frame.structure)
        own = slice(8 * index, 8 * index + 8)
        assert energies.reference[index, 0] == pytest.approx(frame.energy / 8)
        assert energies.predicted[index, 0] == pytest.approx(p.energy / 8 + reference, abs=1e-7)
        assert np.allclose(forces.reference[own], frame.forces, atol=1e-7)
        assert np.allclose(forces.predicted[own], p.forces, atol=1e-7)
        assert np.allclose(virials.predicted[index, :3], np.diag(p.virial) / 8, atol=1e-7)
    assert np.isnan(virials.reference[0]).all()
    assert np.isfinite(virials.reference[1:]).all()
    history = read_loss(out / "loss.out")
    assert np.allclose(history, run.result.history, rtol=1e-5)
    assert (history[:, 7:9] > 0.0).all()


def test_equal_input_gives_equal_files_and_stale_tables_go(
    frames: list[LabelledStructure], tmp_path: Path
) -> None:
    given = read_nep_in(NEP_IN)
    texts = []
    for name, test in (("a", frames[4:]), ("b", None), ("a", None)):
        run_native_training(
            given,
            frames[:4],
            test_frames=test,
            out_directory=tmp_path / name,
            overwrite=True,
            settings=SHORT,
        )
        texts.append((tmp_path / name / "nep.txt").read_bytes())
        (tmp_path / name / "energy_mine.out").touch()
    assert texts[0] == texts[1] == texts[2]
    left = {path.name for path in (tmp_path / "a").glob("*.out")}
    tables = {f"{name}_train.out" for name in ("energy", "force", "virial", "stress")}
    assert left == tables | {"loss.out", "energy_mine.out"}


def test_earlier_training_is_replaced_only_when_asked(
    frames: list[LabelledStructure], tmp_path: Path
) -> None:
    given = read_nep_in(NEP_IN)
    run_native_training(given, frames, out_directory=tmp_path, settings=SHORT)
    before = (tmp_path / "nep.txt").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        run_native_training(given, frames, out_directory=tmp_path, settings=SHORT, seed=1)
    assert (tmp_path / "nep.txt").read_bytes() == before
    run_native_training(
        given, frames, out_directory=tmp_path, overwrite=True, settings=SHORT, seed=1
    )
    assert (tmp_path / "nep.txt").read_bytes() != before


def test_warm_start_reads_a_model(frames: list[LabelledStructure], tmp_path: Path) -> None:
    given = read_nep_in(NEP_IN)
    first = run_native_training(given, frames, out_directory=tmp_path, settings=SHORT)
    second = run_native_training(
        given,
        frames,
        out_directory=tmp_path / "warm",
        warm_start=tmp_path / "nep.txt",
        settings=SHORT,
    )
    assert np.array_equal(second.result.q_scaler, first.result.q_scaler)
    assert second.model_sha256 != first.model_sha256


def test_weights_of_the_input_file_count(frames: list[LabelledStructure]) -> None:
    text = NEP_IN + "lambda_1 0.02\nlambda_f 2\ntype_weight 1.5\nforce_delta 1\n"
    settings = training_settings(read_nep_in(text), TrainingSettings(lambda_e=3.0))
    assert settings.lambda_e == 3.0
    assert (settings.lambda_f, settings.lambda_v, settings.lambda_1) == (2.0, 0.5, 0.02)
    assert (settings.type_weights, settings.force_delta) == ((1.5,), 1.0)
    assert settings.lambda_2 == 0.0
    assert training_settings(NepInput(type=("Cu",), lambda_e=4.0)).lambda_e == 4.0


def test_unusable_input_is_refused_before_training(
    frames: list[LabelledStructure], tmp_path: Path
) -> None:
    given = read_nep_in(NEP_IN)
    with pytest.raises(InputError, match=r"missing\.xyz"):
        run_native_training(given, tmp_path / "missing.xyz", out_directory=tmp_path / "out")
    with pytest.raises(NepInputError, match="nepal predict"):
        run_native_training(
            read_nep_in(NEP_IN + "prediction 1\n"), frames, out_directory=tmp_path / "out"
        )
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be written"):
        run_native_training(given, frames, out_directory=tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists()


def test_interrupted_run_leaves_no_file(frames: list[LabelledStructure], tmp_path: Path) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_native_training(
            read_nep_in(NEP_IN), frames, out_directory=tmp_path, settings=SHORT, progress=interrupt
        )
    assert not list(tmp_path.iterdir())
