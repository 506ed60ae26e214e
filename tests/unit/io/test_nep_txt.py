"""nep.txt: what is written is read back, here and by calorine; what is unsupported is refused."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from calorine.calculators import CPUNEP
from calorine.nep import read_model

from nepal_flows.core.nep.model import NepArchitecture, NepModel, Zbl, model_from_parameters
from nepal_flows.errors import ModelError
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt, write_nep_txt

FLEXIBLE = np.array(
    [[0.5, 1.6, 0.18, 3.2, 0.51, 0.94, 0.28, 0.4, 0.03, 0.2]] * 3
) + 0.01 * np.arange(3.0).reshape(3, 1)

VARIANTS = {
    "one element": {"elements": ("Cu",)},
    "two elements, four and five body": {"has_q_222": True, "has_q_1111": True},
    "only five body": {"has_q_1111": True},
    "cutoffs per element": {"radial_cutoffs": (5.5, 4.75), "angular_cutoffs": (4.0, 3.5)},
    "fixed zbl": {"zbl": Zbl(inner=1.0, outer=2.0)},
    "zbl with a factor": {"zbl": Zbl(inner=0.6, outer=1.2, type_factor=0.65)},
    "flexible zbl": {"zbl": Zbl(inner=0.0, outer=0.0, parameters=FLEXIBLE)},
}


def random_model(seed: int = 0, **changes: object) -> NepModel:
    settings: dict[str, object] = {
        "elements": ("Cu", "Au"),
        "radial_cutoffs": (5.0,),
        "angular_cutoffs": (4.0,),
        "n_max_radial": 3,
        "n_max_angular": 2,
        "basis_size_radial": 5,
        "basis_size_angular": 4,
        "l_max": 4,
        "has_q_222": False,
        "has_q_1111": False,
        "n_neurons": 7,
    }
    architecture = NepArchitecture(**{**settings, **changes})
    rng = np.random.default_rng(seed)
    return model_from_parameters(
        architecture,
        rng.normal(size=architecture.n_parameters),
        rng.uniform(0.1, 2.0, size=architecture.n_descriptors),
        max_neighbours=(80, 40),
    )


@pytest.fixture(params=VARIANTS, ids=list(VARIANTS))
def model(request: pytest.FixtureRequest) -> NepModel:
    return random_model(**VARIANTS[request.param])


def test_text_is_the_same_after_a_round_trip(model: NepModel) -> None:
    text = format_nep_txt(model)
    assert format_nep_txt(read_nep_txt(text)) == text


def test_numbers_come_back_to_eight_digits(model: NepModel, tmp_path: Path) -> None:
    again = read_nep_txt(write_nep_txt(model, tmp_path / "nep.txt"))
    np.testing.assert_allclose(again.parameters(), model.parameters(), rtol=6e-8)
    np.testing.assert_allclose(again.q_scaler, model.q_scaler, rtol=6e-8)
    assert again.architecture == model.architecture
    assert again.max_neighbours == (80, 40)
    if model.architecture.zbl is not None and model.architecture.zbl.parameters is not None:
        np.testing.assert_allclose(again.architecture.zbl.parameters, FLEXIBLE, rtol=6e-8)


def test_calorine_evaluates_what_is_written(model: NepModel, tmp_path: Path) -> None:
    path = write_nep_txt(model, tmp_path / "nep.txt")
    atoms = Atoms("Cu3", positions=[[0, 0, 0], [0, 1.9, 0.2], [1.7, 0.3, 0]], cell=[9] * 3, pbc=1)
    atoms.calc = CPUNEP(str(path))
    assert np.isfinite(atoms.get_potential_energy())
    assert np.abs(atoms.get_forces()).max() > 1e-3


def test_calorine_finds_the_same_numbers(tmp_path: Path) -> None:
    model = random_model(has_q_222=True)
    theirs = read_model(str(write_nep_txt(model, tmp_path / "nep.txt")))
    a = model.architecture
    assert tuple(theirs.types) == a.elements
    assert (theirs.n_neuron, theirs.l_max_3b, theirs.l_max_4b) == (a.n_neurons, 4, 2)
    for t, symbol in enumerate(a.elements):
        network = theirs.ann_parameters[symbol]
        np.testing.assert_allclose(network["w0"], model.w0[t], rtol=6e-8)
        np.testing.assert_allclose(np.ravel(network["b0"]), model.b0[t], rtol=6e-8)
        np.testing.assert_allclose(np.ravel(network["w1"]), model.w1[t], rtol=6e-8)
    for (one, two), block in theirs.radial_descriptor_weights.items():
        t, u = a.elements.index(one), a.elements.index(two)
        np.testing.assert_allclose(block, model.c_radial[:, :, t, u], rtol=6e-8)
    np.testing.assert_allclose(np.ravel(theirs.q_scaler), model.q_scaler, rtol=6e-8)


def test_three_body_only_header_and_trailing_blanks_are_read() -> None:
    text = format_nep_txt(random_model())
    shorter = text.replace("l_max 4 0 0", "l_max 4").replace("Cu Au\n", "Cu Au \n")
    assert read_nep_txt(shorter).architecture == random_model().architecture


def test_newer_flags_that_are_off_are_accepted() -> None:
    text = format_nep_txt(random_model()).replace("l_max 4 0 0", "l_max 4 0 0 0 0")
    assert read_nep_txt(text).architecture == random_model().architecture


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("nep3", "NEP3"),
        ("nep5", "NEP5"),
        ("nep4_dipole", "dipole"),
        ("nep4_polarizability", "polarizability"),
        ("nep4_charge1", "charges"),
        ("nep4_zbl_charge2", "charges"),
        ("nep4_temperature", "temperature"),
        ("nep4_vdw", "dispersion"),
        ("gap", "no kind of NEP"),
    ],
)
def test_unsupported_kind_is_refused_by_name(kind: str, word: str) -> None:
    text = format_nep_txt(random_model()).replace("nep4", kind, 1)
    with pytest.raises(ModelError, match=word):
        read_nep_txt(text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("l_max 4 0 0", "l_max 4 0 0 1", "112"),
        ("l_max 4 0 0", "l_max 4 0 0 0 0 1", "233"),
        ("l_max 4 0 0", "l_max 9 0 0", "largest l"),
        ("ANN 7 0", "ANN 7 5", "second hidden layer"),
        ("ANN 7 0", "ANN 0 0", "0 neurons"),
        ("cutoff 5 4 80 40", "cutoff 5 4 80 40 2.5 2 0.6", "factors"),
        ("cutoff 5 4 80 40", "cutoff 5 4", "neighbour counts"),
        ("n_max 3 2", "n_max 3 x", "something else than a number"),
        ("n_max 3 2", "n_max 3.5 2", "whole numbers"),
        ("n_max 3 2", "n_max 3", "1 values"),
        ("basis_size", "basis", "`basis_size` line is expected"),
        ("Cu Au", "Cu Xx", "not a chemical element"),
        ("nep4 2 Cu Au", "nep4 3 Cu Au", "T El1 .. ElT"),
    ],
)
def test_bad_header_is_refused(old: str, new: str, message: str) -> None:
    text = format_nep_txt(random_model())
    assert old in text
    with pytest.raises(ValueError, match=message):
        read_nep_txt(text.replace(old, new, 1))


@pytest.mark.parametrize("change", ["short", "long", "word", "nan"])
def test_bad_numbers_are_refused(change: str) -> None:
    lines = format_nep_txt(random_model()).splitlines()
    if change == "short":
        lines = lines[:-1]
    elif change == "long":
        lines.append("1.0")
    else:
        lines[20] = "nan" if change == "nan" else "12,3"
    with pytest.raises(ModelError, match=r"numbers|something else|NaN"):
        read_nep_txt("\n".join(lines))


def test_neighbour_counts_that_are_no_numbers_are_refused() -> None:
    text = format_nep_txt(random_model()).replace(" 80 40", " nan 40")
    with pytest.raises(ModelError, match="finite"):
        read_nep_txt(text)


def test_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    text = format_nep_txt(random_model())
    path = tmp_path / "nep.txt"
    path.write_text(text, encoding="utf-8-sig")
    assert format_nep_txt(read_nep_txt(path)) == text


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.txt"):
        read_nep_txt(tmp_path / "absent.txt")


def test_sha256_is_that_of_the_text() -> None:
    text = format_nep_txt(random_model())
    assert model_sha256(text) == hashlib.sha256(text.encode()).hexdigest()
    other = dataclasses.replace(random_model(), b1=1.0)
    assert model_sha256(format_nep_txt(other)) != model_sha256(text)
