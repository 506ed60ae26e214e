"""Any calculator of ASE labels, with the energy its forces belong to and the package's signs."""

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.calculators.emt import EMT, parameters

from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.io.structures import atoms_from_structure
from nepal_flows.labelers import AseLabeler, UnconvergedLabelError
from nepal_flows.labelers.ase_calculator import evaluated
from nepal_flows.labelers.consistency import check_consistency


def test_label_is_what_ase_computes(copper, tmp_path):
    atoms = atoms_from_structure(copper)
    atoms.calc = EMT()
    raw = AseLabeler().label(copper, tmp_path)
    assert raw.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
    np.testing.assert_allclose(raw.forces, atoms.get_forces(), atol=1e-12)
    stress = atoms.get_stress(voigt=False)
    np.testing.assert_allclose(raw.virial, -stress * copper.volume, atol=1e-12)
    assert raw.version.startswith("ase 3")


def test_emt_is_consistent(copper, pool):
    found = check_consistency(AseLabeler(), copper, pool=pool)
    assert found.problems == ()
    assert found.force_error < 1e-3
    assert found.stress_error < 1e-4
    assert found.pressure_sign > 1.0


def test_elements_that_emt_does_not_know_are_refused_before_any_label():
    with pytest.raises(LabelError, match=r"`emt` does not know Si, Zr; it knows Ag, Al"):
        AseLabeler().check(["Cu", "Si", "Zr"])
    for symbol in parameters:
        AseLabeler().check([symbol])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("emtt", r"no calculator `emtt`.*Did you mean `emt`"),
        ("espreso", "`espresso`"),
        ("mymodule:Potential", "package.module:Class"),
        ("math:Potential", "package.module:Class"),
    ],
)
def test_unknown_calculator_is_refused_with_the_nearest(name, message):
    with pytest.raises(CampaignError, match=message):
        AseLabeler(name)


def test_arguments_that_do_not_fit_are_refused():
    with pytest.raises(CampaignError, match=r"cannot be built from \{'model': 1\}"):
        AseLabeler("ase.calculators.emt:parameters", {"model": 1}).check(["Cu"])


def test_calculator_may_come_from_any_module(copper, tmp_path):
    ours = AseLabeler("ase.calculators.emt:EMT").label(copper, tmp_path)
    assert ours.energy == AseLabeler("emt").label(copper, tmp_path).energy


def test_labeler_survives_json_and_its_physics_is_its_arguments():
    labeler = AseLabeler("lj", {"sigma": 2.3}, max_net_force=0.02)
    assert AseLabeler.from_dict(labeler.as_dict()) == labeler
    assert labeler.physics() == {
        "code": "ase",
        "calculator": "lj",
        "arguments": {"sigma": 2.3},
    }


class Odd(Calculator):
    """A calculator that answers as its arguments say."""

    implemented_properties = ("energy", "forces")

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.results = {"forces": np.zeros((len(atoms), 3)), **self.answer}


def test_free_energy_wins_where_there_is_one(copper):
    calculator = Odd({"energy": -1.0, "free_energy": -1.5})
    calculator.implemented_properties = ("energy", "free_energy", "forces")
    raw = evaluated(copper, calculator)
    assert (raw.energy, raw.info["energy"]) == (-1.5, "free_energy")
    raw = evaluated(copper, Odd({"energy": -1.0}))
    assert (raw.energy, raw.info["energy"]) == (-1.0, "energy")
    assert raw.virial is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CalculationFailed("no convergence"), UnconvergedLabelError),
        (OSError("disk"), UnconvergedLabelError),
        (ZeroDivisionError("oops"), LabelError),
    ],
)
def test_calculator_that_raises_is_a_failed_label(copper, error, kind):
    with pytest.raises(kind, match=str(error)) as caught:
        evaluated(copper, Odd(error))
    assert type(caught.value) is kind
