"""nep.in: what is written is read back; what `nep` would refuse is refused with a remedy."""

from pathlib import Path

import pytest

from nepal_flows.core.nep.model import Zbl
from nepal_flows.errors import NepInputError
from nepal_flows.io.nep_in import NepInput, format_nep_in, read_nep_in

TEXT = """# copper and gold
type        2 Cu Au
cutoff      6 5   # short
n_max       4 4
basis_size  8 8
l_max       4 2 1
neuron      20
zbl         2
lambda_1    0.05
lambda_e    2
generation  5000
save_potential 1000 0
"""


def test_values_are_read() -> None:
    n = read_nep_in(TEXT)
    assert (n.type, n.cutoff, n.l_max, n.neuron) == (("Cu", "Au"), (6.0, 5.0), (4, 2, 1), 20)
    assert (n.lambda_1, n.lambda_2, n.lambda_e, n.generation) == (0.05, None, 2.0, 5000)
    assert n.batch == 1000
    assert n.others == (("save_potential", "1000 0"),)


def test_architecture_is_that_of_the_file() -> None:
    a = read_nep_in(TEXT).architecture
    assert (a.radial_cutoffs, a.angular_cutoffs) == ((6.0, 6.0), (5.0, 5.0))
    assert (a.l_max, a.has_q_222, a.has_q_1111, a.n_neurons) == (4, True, True, 20)
    assert a.zbl == Zbl(inner=1.0, outer=2.0)
    assert a.n_descriptors == 5 + 5 * 6


def test_cutoffs_per_element_are_read() -> None:
    a = read_nep_in("type 2 Cu Au\ncutoff 6 5 7 4\n").architecture
    assert (a.radial_cutoffs, a.angular_cutoffs) == ((6.0, 7.0), (5.0, 4.0))


def test_written_file_is_explicit_and_reads_the_same() -> None:
    n = read_nep_in(TEXT)
    again = read_nep_in(format_nep_in(n))
    assert again.architecture == n.architecture
    assert again.others == n.others
    assert again.lambda_2 == pytest.approx(n.default_regularisation, rel=1e-9)
    assert {"version", "batch", "population", "lambda_shear", "sigma0"} <= set(again.given)


def test_defaults_are_those_of_gpumd_5_6() -> None:
    n = NepInput(type=("Si",))
    assert (n.cutoff, n.n_max, n.basis_size, n.l_max) == ((8, 4), (6, 6), (6, 6), (4, 1, 0))
    assert n.architecture.n_descriptors == 7 + 7 * 5


def test_keywords_the_native_trainer_ignores_are_named() -> None:
    assert read_nep_in(TEXT).ignored_by_native == ("generation", "save_potential")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cutof 6 5", "Did you mean `cutoff`"),
        ("lamda_f 1", "Did you mean `lambda_f`"),
        ("cutoff 6 7", "3 <= angular <= radial <= 10"),
        ("cutoff 12 5", "radial 12"),
        ("cutoff 6 5 6", "has 3 values"),
        ("neuron 0", "1 to 120"),
        ("neuron 2.5", "whole numbers"),
        ("population 500", "10 to 200"),
        ("n_max 4 9", "angular"),
        ("version 3", "expected 4"),
        ("l_max 4 2 1 1", "four- and five-body"),
        ("charge_mode 1", "models with charges"),
        ("model_type 1", "dipoles"),
        ("type_weight 1", "2 numbers"),
        ("lambda_e -1", "lambda_e"),
        ("lambda_f nan", "finite"),
        ("neuron 20\nneuron 30", "given before"),
        ("fine_tune nep.txt", "expected 2"),
    ],
)
def test_bad_lines_are_refused(line: str, message: str) -> None:
    with pytest.raises(NepInputError, match=message):
        read_nep_in(f"type 2 Cu Au\n{line}\n")


def test_keywords_that_are_switched_off_are_accepted() -> None:
    assert read_nep_in("type 1 Si\nmodel_type 0\ncharge_mode 0\n").given == ("type",)


@pytest.mark.parametrize("text", ["cutoff 6 5\n", "type 2 Cu\n", "type Cu\n"])
def test_missing_or_wrong_elements_are_refused(text: str) -> None:
    with pytest.raises(NepInputError, match="type"):
        read_nep_in(text)


def test_unknown_element_is_refused() -> None:
    with pytest.raises(ValueError, match="Xx"):
        _ = read_nep_in("type 1 Xx\n").architecture


def test_messages_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "nep.in"
    with pytest.raises(NepInputError, match="cannot be read"):
        read_nep_in(path)
    path.write_text("type 1 Si\nneurons 3\n")
    with pytest.raises(NepInputError, match=r"nep\.in`: line 2.*`neuron`"):
        read_nep_in(path)
