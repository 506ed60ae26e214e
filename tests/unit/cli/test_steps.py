"""Single steps on the user's own files: results agree with the library, bad input is refused."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from nepal_flows.core.bayes.features import n_features
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.engines import native_training
from nepal_flows.engines.active_set_step import active_set_file
from nepal_flows.engines.error_bars_step import error_bars_file
from nepal_flows.engines.grading_step import grade_file
from nepal_flows.engines.prediction_step import predict_file
from nepal_flows.io.asi import read_asi, unpack_active_set
from nepal_flows.io.extxyz import write_extxyz
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import read_labelled, read_structures

SETS = ("train", "test")


def test_predict_writes_what_ase_reads_back(files, nepal):
    code, out, _ = nepal("predict", "nep.txt", "test.xyz", "--out", "p.xyz")
    assert code == 0
    assert "4 structures" in out
    model = read_nep_txt("nep.txt")
    for atoms, structure in zip(read("p.xyz", ":"), read_structures("test.xyz"), strict=True):
        expected = predict(model, structure)
        assert atoms.get_potential_energy() == pytest.approx(expected.energy, rel=1e-12)
        assert np.allclose(atoms.get_forces(), expected.forces, atol=1e-9)
        stress = -expected.virial / structure.volume
        assert np.allclose(atoms.get_stress(voigt=False), stress, atol=1e-12)
        assert np.allclose(atoms.info["virial"].reshape(3, 3), expected.virial, atol=1e-10)


def test_predict_compares_with_labels_of_the_file(files, nepal_json):
    document = nepal_json("predict", "nep.txt", "test.xyz", "--out", "p.xyz")
    assert document["schema"] == "nepal/predict/1"
    predicted, reference = read("p.xyz", ":"), read("test.xyz", ":")
    difference = [
        p.get_forces() - r.get_forces() for p, r in zip(predicted, reference, strict=True)
    ]
    rmse = np.sqrt(np.mean(np.square(difference)))
    assert document["errors"]["force_rmse_eV_per_A"] == pytest.approx(rmse, rel=1e-9)
    energies = [
        (p.get_potential_energy() - r.get_potential_energy()) / len(p)
        for p, r in zip(predicted, reference, strict=True)
    ]
    assert document["errors"]["energy_rmse_eV_per_atom"] == pytest.approx(np.std(energies))


def test_predict_without_labels_has_no_errors(files, nepal_json):
    assert nepal_json("predict", "nep.txt", "bare.xyz", "--out", "p.xyz")["errors"] is None


def test_virial_errors_are_over_the_six_components_per_atom(files, nepal_json):
    document = nepal_json("predict", "nep.txt", "test.xyz", "--out", "p.xyz")
    model, upper = read_nep_txt("nep.txt"), np.triu_indices(3)
    errors = [
        ((predict(model, frame.structure).virial - frame.virial) / frame.n_atoms)[upper]
        for frame in read_labelled("test.xyz")
    ]
    rmse = np.sqrt(np.mean(np.square(errors)))
    assert document["errors"]["virial_rmse_eV_per_atom"] == pytest.approx(rmse, rel=1e-9)
    fit = nepal_json(*TRAIN, "--out", "fit", "--test", "test.xyz")
    again = nepal_json("predict", "fit/nep.txt", "test.xyz", "--out", "p.xyz")["errors"]
    assert again["virial_rmse_eV_per_atom"] == pytest.approx(fit["test"]["virial_rmse_eV_per_atom"])


def test_errors_are_those_of_the_labelled_frames_and_the_others_are_named(files, nepal, nepal_json):
    labelled, bare = read("test.xyz", ":"), read("bare.xyz", ":")
    spoilt = read("train.xyz", 0)
    spoilt.info["virial"] = np.eye(3)
    write("labelled.xyz", labelled)
    write("mixed.xyz", [*labelled, *bare, spoilt])
    whole = nepal_json("predict", "nep.txt", "labelled.xyz", "--out", "p.xyz")
    document = nepal_json("predict", "nep.txt", "mixed.xyz", "--out", "p.xyz")
    assert document["n_structures"] == 6
    assert document["errors"] == pytest.approx(whole["errors"])
    assert document["errors"]["n_structures"] == 4
    left_out = {entry["frame"]: entry["reason"] for entry in document["left_out"]}
    assert left_out[4] == "no energy and no forces"
    assert "contradict" in left_out[5]
    _, out, _ = nepal("predict", "nep.txt", "mixed.xyz", "--out", "p.xyz")
    assert "2 of 6 frames left out" in out
    assert "frame 4: no energy and no forces" in out
    assert "(4 frames)" in out


def test_contradictory_labels_of_one_structure_are_left_out_of_errors(files, nepal_json):
    frames = read("test.xyz", ":")
    frames.append(frames[1].copy())
    frames[-1].calc = SinglePointCalculator(frames[-1], energy=7.0, forces=frames[1].get_forces())
    write("twice.xyz", frames)
    document = nepal_json("predict", "nep.txt", "twice.xyz", "--out", "p.xyz")
    assert document["errors"]["n_structures"] == 3
    assert [entry["frame"] for entry in document["left_out"]] == [1, 4]
    assert "frame 4 is the same structure" in document["left_out"][0]["reason"]


def test_predict_adds_reference_energies_when_asked(files, nepal_json, nepal):
    (files / "reference_energies.json").write_text(json.dumps({"Cu": -3.5}))
    plain = nepal_json("predict", "nep.txt", "bare.xyz", "--out", "p.xyz")
    shifted = nepal_json(
        "predict", "nep.txt", "bare.xyz", "--out", "p.xyz", "--reference-energies",
        "reference_energies.json",
    )  # fmt: skip
    assert shifted["energies_eV"][0] - plain["energies_eV"][0] == pytest.approx(-14.0)
    _, _, err = nepal("predict", "nep.txt", "bare.xyz", "--out", "p.xyz")
    assert "--reference-energies" in err
    _, _, err = nepal("predict", "nep.txt", "nothing.xyz", "--out", "p.xyz")
    assert "--reference-energies" not in err


def test_threads_do_not_change_predictions(files):
    one = predict_file("nep.txt", "train.xyz", "a.xyz", n_threads=1)
    two = predict_file("nep.txt", "train.xyz", "b.xyz", n_threads=2)
    assert np.array_equal(one.energies, two.energies)
    assert (files / "a.xyz").read_bytes() == (files / "b.xyz").read_bytes()


def test_active_set_is_bound_to_its_model(files, nepal_json):
    document = nepal_json("active-set", "nep.txt", "train.xyz", "--out", "a.asi")
    (element,) = document["elements"]
    assert element["element"] == "Cu"
    assert element["n_rows"] == 48
    assert element["largest_training_grade"] <= 1.001 + 1e-9
    packed = unpack_active_set((files / "a.npz").read_bytes())
    assert packed.model_sha256 == document["model_sha256"]
    assert np.array_equal(read_asi("a.asi")["Cu"], packed.of_element("Cu").inverse)


def test_full_variant_is_offered(files, nepal_json):
    document = nepal_json(
        "active-set", "nep.txt", "train.xyz", "--out", "a.asi", "--variant", "full"
    )
    assert document["variant"] == "full"


def test_grade_writes_gamma_per_atom_and_per_frame(files, nepal_json):
    active_set = active_set_file("nep.txt", "train.xyz", "a.asi").active_set
    document = nepal_json("grade", "nep.txt", "a.asi", "candidates.xyz", "--out", "g.xyz")
    assert document["is_verified"] is True
    model = read_nep_txt("nep.txt")
    structures = read_structures("candidates.xyz")
    for k, (atoms, structure) in enumerate(zip(read("g.xyz", ":"), structures, strict=True)):
        expected = structure_grades(active_set, projection_factors(model, structure))
        assert np.allclose(atoms.arrays["gamma"], expected, rtol=1e-9)
        assert atoms.info["max_gamma"] == pytest.approx(expected.max())
        assert document["max_gamma"][k] == pytest.approx(expected.max())


def test_training_frames_are_graded_at_most_one(files):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    assert grade_file("nep.txt", "a.asi", "train.xyz", "g.xyz").grades.max() <= 1.001 + 1e-6


def test_master_alone_will_do(files):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    from_text = grade_file("nep.txt", "a.asi", "candidates.xyz", "g.xyz")
    from_master = grade_file("nep.txt", "a.npz", "candidates.xyz", "g.xyz")
    assert np.array_equal(from_text.grades, from_master.grades)
    assert from_master.is_verified


def test_other_model_is_refused(files, nepal):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    code, _, err = nepal("grade", "other.txt", "a.asi", "candidates.xyz", "--out", "g.xyz")
    assert code == 2
    assert "belongs to the model" in err
    assert not (files / "g.xyz").exists()


def test_active_set_without_master_is_used_with_a_remark(files, nepal):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    (files / "a.npz").unlink()
    code, _, err = nepal("grade", "nep.txt", "a.asi", "candidates.xyz", "--out", "g.xyz")
    assert code == 0
    assert "does not say which model" in err


def test_stale_master_is_not_believed(files):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    active_set_file("other.txt", "train.xyz", "b.asi")
    (files / "b.asi").replace(files / "a.asi")
    assert not grade_file("other.txt", "a.asi", "candidates.xyz", "g.xyz").is_verified


def test_active_set_of_another_size_is_refused(files, nepal):
    (files / "a.asi").write_text("Cu 2 2\n1\n0\n0\n1\n")
    code, _, err = nepal("grade", "nep.txt", "a.asi", "bare.xyz", "--out", "g.xyz")
    assert code == 2
    assert "d=2" in err


def test_select_gives_a_reason_for_every_frame(files, nepal_json):
    document = nepal_json(
        "select", "nep.txt", "train.xyz", "candidates.xyz", "--budget", "2", "--out", "s.xyz",
        "--threshold", "1.5", "--ceiling", "1e9",
    )  # fmt: skip
    assert len(document["decisions"]) == 6
    assert len(document["selected"]) == 2
    assert sum(document["refused"].values()) == 4
    chosen = read("s.xyz", ":")
    assert [atoms.info["candidate"] for atoms in chosen] == document["selected"]
    grades = [decision["gamma"] for decision in document["decisions"]]
    assert document["selected"][0] == int(np.argmax(grades))


def test_select_refuses_overlaps_and_repeats(files, nepal_json):
    frames = read("candidates.xyz", ":2")
    frames[0].positions[1] = frames[0].positions[0] + [0.5, 0, 0]
    frames[1] = read("train.xyz", 0)
    for atoms in frames:
        atoms.calc = None
    write("odd.xyz", frames)
    document = nepal_json(
        "select", "nep.txt", "train.xyz", "odd.xyz", "--budget", "2", "--out", "s.xyz",
        "--threshold", "0.5",
    )  # fmt: skip
    reasons = [decision["reason"] for decision in document["decisions"]]
    assert reasons == ["rejected_by_gate", "near_duplicate_of_labelled"]
    assert "0.50 Å apart" in document["decisions"][0]["detail"]
    assert document["selected"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nothing.txt", "test.xyz", "--out", "p.xyz"], "nothing.txt"),
        (["predict", "nep.txt", "nothing.xyz", "--out", "p.xyz"], "There is no file"),
        (["predict", "nep.txt", "Si.vasp", "--out", "p.xyz"], "Si"),
        (["predict", "nep.in", "test.xyz", "--out", "p.xyz"], "no kind of NEP"),
        (["predict", "nep.txt", "nep.in", "--out", "p.xyz"], "cannot be read"),
        (["active-set", "nep.txt", "Si.vasp", "--out", "a.asi"], "Si"),
        (["active-set", "nep.txt", "train.xyz", "--out", "a.npz"], "overwritten"),
        (["grade", "nep.txt", "nothing.asi", "test.xyz", "--out", "g.xyz"], "nothing.asi"),
        (["grade", "nep.txt", "nothing.npz", "test.xyz", "--out", "g.xyz"], "nothing.npz"),
        (["grade", "nep.txt", "train.xyz", "test.xyz", "--out", "g.xyz"], "train.xyz"),
    ],
)
def test_bad_files_are_refused_in_one_message(files, nepal, arguments, message):
    code, out, err = nepal(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


COMMANDS_ON_FRAMES = [
    ["predict", "nep.txt", "odd.xyz", "--out", "o"],
    ["grade", "nep.txt", "a.asi", "odd.xyz", "--out", "o"],
    ["train", "odd.xyz", "--input", "nep.in", "--out", "o", "--steps", "1"],
    ["train", "train.xyz", "--input", "nep.in", "--out", "o", "--steps", "1", "--test", "odd.xyz"],
    ["active-set", "nep.txt", "odd.xyz", "--out", "o"],
    ["select", "nep.txt", "odd.xyz", "test.xyz", "--budget", "1", "--out", "o"],
    ["select", "nep.txt", "train.xyz", "odd.xyz", "--budget", "1", "--out", "o"],
]


@pytest.mark.parametrize(
    "command", COMMANDS_ON_FRAMES, ids=lambda c: f"{c[0]}-{c.index('odd.xyz')}"
)
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda atoms: atoms.positions.__setitem__(1, np.nan), "NaN"),
        (lambda atoms: atoms.positions.__setitem__(3, atoms.positions[1] + 1e-3), "Atoms 1 and 3"),
        (lambda atoms: atoms.numbers.__setitem__(2, 14), "holds Si"),
    ],
    ids=["nan", "overlap", "element"],
)
def test_odd_frame_is_named_with_its_file(files, nepal, command, spoil, message):
    active_set_file("nep.txt", "train.xyz", "a.asi")
    frames = read("train.xyz", ":4")
    results = dict(frames[2].calc.results)
    spoil(frames[2])
    frames[2].calc = SinglePointCalculator(frames[2], **results)
    write("odd.xyz", frames)
    code, out, err = nepal(*command)
    assert code == 2, err
    assert out == ""
    assert "Frame 2 of `odd.xyz`" in err
    assert message in err
    assert "Traceback" not in err
    assert not (files / "o").is_file()


@pytest.mark.parametrize(
    "command",
    [
        ["train", "twice.xyz", "--input", "nep.in", "--out", "fit", "--steps", "1", "--overwrite"],
        ["active-set", "nep.txt", "twice.xyz", "--out", "a.asi"],
    ],
)
def test_repeated_frames_are_told(files, nepal, nepal_json, command):
    frames = read("train.xyz", ":")
    write("twice.xyz", [*frames, frames[3]])
    code, _, err = nepal(*command)
    assert code == 0
    assert "several frames of `twice.xyz`: 3 = 12" in err
    assert nepal_json(*command)["repeated"] == [[3, 12]]
    assert nepal_json(*(w.replace("twice", "train") for w in command))["repeated"] == []


@pytest.mark.parametrize(
    "command",
    [
        ["train", "twice.xyz", "--input", "nep.in", "--out", "fit"],
        ["active-set", "nep.txt", "twice.xyz", "--out", "a.asi"],
    ],
)
def test_contradictory_labels_of_one_structure_are_refused(files, nepal, command):
    frames = read("train.xyz", ":")
    other = frames[3].copy()
    other.positions += other.cell[0]
    energy = frames[3].get_potential_energy() + 0.5
    other.calc = SinglePointCalculator(other, energy=energy, forces=frames[3].get_forces())
    write("twice.xyz", [*frames, other])
    code, _, err = nepal(*command)
    assert code == 2
    assert "Frames 3 and 12 of `twice.xyz` are the same structure" in err
    assert f"{energy:.6f}" in err
    assert not (files / "fit").exists()


def test_test_frames_that_are_trained_on_are_told(files, nepal, nepal_json):
    write("test.xyz", [*read("test.xyz", ":"), read("train.xyz", 5)])
    command = [*TRAIN, "--out", "fit", "--test", "test.xyz", "--overwrite"]
    _, _, err = nepal(*command)
    assert "1 frames of `test.xyz` are trained on too (4 = 5)" in err
    assert nepal_json(*command)["tested_on_training"] == [[5, 4]]


def test_nan_in_a_structure_is_refused(files, nepal):
    lines = (files / "bare.xyz").read_text().splitlines()
    lines[2] = "Cu nan 0.0 0.0"
    (files / "nan.xyz").write_text("\n".join(lines) + "\n")
    code, _, err = nepal("predict", "nep.txt", "nan.xyz", "--out", "p.xyz")
    assert code == 2
    assert "NaN" in err


@pytest.mark.parametrize(
    "content", ["not json", "[1]", '{"Cu": "x"}', '{"Au": 1.0}', '{"Cu": NaN}']
)
@pytest.mark.parametrize(
    "command",
    [
        ["predict", "nep.txt", "bare.xyz", "--out", "p.xyz"],
        ["train", "train.xyz", "--input", "nep.in", "--out", "fit", "--steps", "2"],
    ],
)
def test_unusable_reference_energies_are_refused(files, nepal, command, content):
    (files / "e.json").write_text(content)
    code, _, err = nepal(*command, "--reference-energies", "e.json")
    assert code == 2
    assert "reference energies" in err


def test_folder_that_cannot_be_written_is_refused(files, nepal):
    (files / "file").write_text("")
    code, _, err = nepal("predict", "nep.txt", "bare.xyz", "--out", "file/p.xyz")
    assert code == 2
    assert "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is full")
def test_full_disk_is_told_with_its_own_code_and_a_remedy(files, nepal):
    code, _, err = nepal("predict", "nep.txt", "bare.xyz", "--out", "/dev/full")
    assert code == 4
    assert "Free some space" in err
    assert Path("/dev/full").is_char_device()


def test_full_disk_is_no_failed_training(files, nepal, monkeypatch):
    def refuse(*_args, **_keywords):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(native_training, "write_loss", refuse)
    code, _, err = nepal(*TRAIN, "--out", "fit")
    assert code == 4
    assert "No space left" in err
    assert not any((files / "fit").iterdir())


TRAIN = ["train", "train.xyz", "--input", "nep.in", "--steps", "30", "--lbfgs-steps", "5"]


def test_train_writes_what_nep_writes(files, nepal_json):
    document = nepal_json(*TRAIN, "--out", "fit", "--test", "test.xyz", "--threads", "1")
    names = {path.name for path in (files / "fit").iterdir()}
    tables = {f"{q}_{s}.out" for q in ("energy", "force", "virial", "stress") for s in SETS}
    assert names >= tables | {"nep.txt", "loss.out", "reference_energies.json"}
    assert document["ignored_keywords"] == ["generation"]
    assert document["training"]["n_structures"] == 12
    errors = nepal_json("predict", "fit/nep.txt", "test.xyz", "--out", "p.xyz")["errors"]
    assert errors["force_rmse_eV_per_A"] == pytest.approx(document["test"]["force_rmse_eV_per_A"])


def test_equal_seeds_train_equal_models(files, nepal_json):
    runs = [
        nepal_json(*TRAIN, "--out", f"fit{k}", "--seed", seed, "--threads", "1")
        for k, seed in enumerate((1, 1, 2))
    ]
    hashes = [run["model_sha256"] for run in runs]
    assert hashes[0] == hashes[1] != hashes[2]


def test_warm_start_keeps_the_reference_energies(files, nepal_json, nepal):
    first = nepal_json(*TRAIN, "--out", "fit")
    code, _, err = nepal(*TRAIN, "--out", "warm", "--warm-start", "fit/nep.txt")
    assert code == 0
    assert "reference energies" in err
    kept = json.loads((files / "warm" / "reference_energies.json").read_text())
    assert kept == first["reference_energies_eV"]


def test_train_prints_errors_and_ignored_keywords(files, nepal):
    code, out, _ = nepal(*TRAIN, "--out", "fit")
    assert code == 0
    assert "F meV/Å" in out
    assert "`generation`" in out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("cutoff 4 3.5", "cutoff 3 4"), "3 <= angular <= radial <= 10"),
        (("neuron 5", "neurons 5"), "Did you mean `neuron`"),
        (("type 1 Cu", "type 1 Si"), "Cu"),
    ],
)
def test_bad_nep_in_is_refused(files, nepal, change, message):
    (files / "nep.in").write_text((files / "nep.in").read_text().replace(*change))
    code, _, err = nepal(*TRAIN, "--out", "fit")
    assert code == 2
    assert message in err
    assert not (files / "fit" / "nep.txt").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ({"forces": None}, "forces"),
        ({"energy": None, "free_energy": None}, "energy"),
        ({"energy": np.nan, "free_energy": np.nan}, "NaN"),
        ({"stress": np.ones(6)}, "contradict"),
        ({"energy": 1e300, "free_energy": 1e300}, "eV per atom; beyond 1e+07 it is garbage"),
        ({"forces": np.full((4, 3), 1e12)}, "A force is 1e+12 eV/Å"),
    ],
)
def test_bad_labels_are_refused_with_their_frame(files, nepal, spoil, message):
    frames = read("train.xyz", ":3")
    frames[1].info["virial"] = -frames[1].get_stress(voigt=False) * frames[1].get_volume()
    for name, value in spoil.items():
        if value is None:
            frames[1].calc.results.pop(name)
        else:
            frames[1].calc.results[name] = value
    write("bad.xyz", frames)
    code, _, err = nepal("train", "bad.xyz", "--input", "nep.in", "--out", "fit")
    assert code == 2
    assert message in err
    assert "Frame 1 of `bad.xyz`" in err


def test_error_bars_are_written_per_atom_and_frame_and_checked_on_labels(files, nepal_json, nepal):
    arguments = ("error-bars", "nep.txt", "train.xyz")
    document = nepal_json(*arguments, "test.xyz", "--out", "e.xyz")
    model, train = read_nep_txt("nep.txt"), read_labelled("train.xyz")
    result = error_bars_file("nep.txt", "train.xyz", "test.xyz", "again.xyz")
    assert document["n_parameters"] == n_features(model.architecture)
    for k, (atoms, bar) in enumerate(zip(read("e.xyz", ":"), result.bars, strict=True)):
        assert np.allclose(atoms.arrays["force_bar"], bar.forces, atol=1e-9)
        assert np.allclose(atoms.arrays["ratio"], bar.ratios, atol=1e-9)
        assert np.allclose(atoms.info["stress_bar"], bar.stress)
        assert atoms.info["max_force_bar"] == pytest.approx(bar.forces.max())
        assert document["max_ratio"][k] == pytest.approx(bar.ratios.max())
    errors = [predict(model, f.structure).forces - f.forces for f in read_labelled("test.xyz")]
    bars = np.concatenate([bar.forces for bar in result.bars])
    factor = np.sqrt(np.mean((np.concatenate(errors) / bars[:, None]) ** 2))
    assert document["calibration"]["factor"] == pytest.approx(factor)
    # Bars of energies do not depend on what energy of an element was taken off.
    shifted = [dataclasses.replace(f, energy=f.energy - 7.0 * f.n_atoms) for f in train]
    write_extxyz(shifted, "shifted.xyz")
    other = error_bars_file("nep.txt", "shifted.xyz", "test.xyz", "again.xyz")
    assert other.bars[0].energy == pytest.approx(result.bars[0].energy, rel=1e-4)
    code, out, _ = nepal(*arguments, "bare.xyz", "--layer", "last", "--out", "e.xyz")
    assert code == 0
    assert "as safe as the training frames" in out
    assert "labelled" not in out
