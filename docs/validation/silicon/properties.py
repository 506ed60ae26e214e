"""All properties of silicon that are compared, by whoever evaluates."""

from collections.abc import Sequence
from dataclasses import dataclass

from silicon.cells import multiple, primitive_cell
from silicon.elasticity import ElasticConstants, elastic_constants
from silicon.equation_of_state import EquationOfState, equation_of_state
from silicon.evaluation import Evaluator
from silicon.phonons import Phonons, phonons
from silicon.sampling import LATTICE_CONSTANT_A
from silicon.vacancies import Vacancy, vacancy


@dataclass(frozen=True, eq=False)
class Properties:
    """Properties of silicon, each at the lattice constant of whoever evaluated.

    Attributes
    ----------
    lattice_constant
        Of the equation of state, rounded, Å.
    eos, elastic, phonons
        Of the perfect crystal.
    vacancies
        By shape of the cell.
    """

    lattice_constant: float
    eos: EquationOfState
    elastic: ElasticConstants
    phonons: Phonons
    vacancies: dict[str, Vacancy]


def properties(evaluate: Evaluator, vacancy_shapes: Sequence[str]) -> Properties:
    """Return the properties.

    Parameters
    ----------
    evaluate
        A model, or labels.
    vacancy_shapes
        Cells for the vacancy, as ``2x2x2``.
    """
    eos = equation_of_state(evaluate, primitive_cell(LATTICE_CONSTANT_A))
    lattice_constant = round(eos.lattice_constant, 4)  # labels are found again by structure
    crystal = primitive_cell(lattice_constant)
    return Properties(
        lattice_constant=lattice_constant,
        eos=eos,
        elastic=elastic_constants(evaluate, crystal),
        phonons=phonons(evaluate, crystal),
        vacancies={
            shape: vacancy(evaluate, shape, multiple(crystal, _repeats(shape)))
            for shape in vacancy_shapes
        },
    )


def _repeats(shape: str) -> tuple[int, int, int]:
    first, second, third = (int(n) for n in shape.split("x"))
    return first, second, third


__all__ = ["Properties", "properties"]
