"""The vacancy of Tersoff's silicon, and the geometry around it."""

from dataclasses import replace

import numpy as np
import pytest

from silicon.cells import multiple, primitive_cell, without_atom
from silicon.vacancies import vacancy


@pytest.fixture(scope="module")
def found(tersoff):
    return vacancy(tersoff, "2x2x2", multiple(primitive_cell(5.432), (2, 2, 2)))


def test_unrelaxed_energy_is_that_of_broken_bonds(found):
    """Taking an atom out breaks four of its bonds: twice the energy per atom, given back once.

    The three bonds left at each neighbour grow a little stronger, hence less than 4.63 eV.
    """
    assert found.perfect.energy == pytest.approx(16 * -4.6296, abs=0.01)
    assert 3.9 < found.unrelaxed < 4.63


def test_relaxation_lowers_the_energy_and_stops_the_forces(found):
    assert found.relaxed < found.unrelaxed
    assert np.linalg.norm(found.final.forces, axis=1).max() < 0.021
    assert found.formation_energy(found.final) == pytest.approx(found.relaxed)


def test_neighbours_of_the_ideal_vacancy_are_a_tetrahedron(found):
    ideal = replace(found.final, structure=without_atom(found.perfect.structure))
    distances = replace(found, final=ideal).neighbour_distances()
    np.testing.assert_allclose(distances, np.full(6, 5.432 / np.sqrt(2.0)), atol=1e-6)
