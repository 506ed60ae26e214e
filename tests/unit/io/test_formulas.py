import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.formulas import parsed_bonds, parsed_charges, parsed_formula


def test_formulas_charges_and_bonds_are_read() -> None:
    assert parsed_formula("CsPbI3") == {55: 1, 82: 1, 53: 3}
    assert parsed_charges("Na:1, Cl:-1") == {11: 1.0, 17: -1.0}
    assert parsed_bonds("O-H:1.2,C-C:1.8") == {(1, 8): 1.2, (6, 6): 1.8}


@pytest.mark.parametrize("text", ["", "nacl", "Na-Cl", "Xy2"])
def test_what_is_no_formula_is_refused(text) -> None:
    with pytest.raises(InputError):
        parsed_formula(text)


@pytest.mark.parametrize("text", ["Na", "Na:one", "Qq:1"])
def test_what_are_no_charges_is_refused(text) -> None:
    with pytest.raises(InputError):
        parsed_charges(text)


@pytest.mark.parametrize("text", ["O:1", "O-H:-1", "O-H-H:1"])
def test_what_are_no_bonds_is_refused(text) -> None:
    with pytest.raises(InputError):
        parsed_bonds(text)
