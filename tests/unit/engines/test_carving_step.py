"""Fragments from files: grades are taken as they are, bad input is refused, proofs are kept."""

import numpy as np
import pytest
from ase.io import read, write

from nepal_flows.core.carving.options import CarvingOptions
from nepal_flows.core.extrapolation import structure_grades
from nepal_flows.core.nep.projections import projection_factors
from nepal_flows.engines.carving_centres import CentreRules
from nepal_flows.engines.carving_step import carve_file
from nepal_flows.errors import CarvingError, InputError, ModelError, StructureError
from nepal_flows.io.asi import inverses_by_type, read_asi
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.report.carving import carving_page
from nepal_flows.schemas import CarvingDoc, carving_document

SEARCHED = CarvingOptions(method="searched")


def carved(folder, frames="graded.xyz", *, out="fragments.xyz", **options):
    given = {"rules": CentreRules(budget=2), "options": SEARCHED, "keep_rejected": True} | options
    return carve_file(
        folder / "nep.txt", folder / "active_set.asi", folder / frames, folder / out, **given
    )


@pytest.fixture(scope="module")
def result(carving_files):
    return carved(carving_files, train_path=carving_files / "train.xyz")


def test_centres_are_the_worst_atoms_of_all_frames(result, carving_files) -> None:
    grades = [atoms.arrays["gamma"] for atoms in read(carving_files / "graded.xyz", ":")]
    first = result.frames.fragments[0].centre
    assert grades[first.frame][first.atom] == max(own.max() for own in grades)
    assert result.frames.n_frames == 2
    assert result.frames.n_unknown == sum(int((own >= 5.0).sum()) for own in grades)


def test_file_holds_fragments_whose_grades_are_those_of_a_fresh_grading(
    result, carving_files
) -> None:
    model = read_nep_txt(carving_files / "nep.txt")
    inverses = inverses_by_type(read_asi(carving_files / "active_set.asi"), model.elements)
    parents = read(carving_files / "graded.xyz", ":")
    for atoms in read(carving_files / "fragments.xyz", ":"):
        factors = projection_factors(model, structure_from_atoms(atoms))
        np.testing.assert_allclose(
            atoms.arrays["gamma"], structure_grades(inverses, factors), rtol=1e-5
        )
        parent = parents[atoms.info["frame"]]
        np.testing.assert_allclose(
            atoms.arrays["gamma_parent"], parent.arrays["gamma"][atoms.arrays["parent_atom"]],
            rtol=1e-5,
        )  # fmt: skip
        assert atoms.arrays["parent_atom"][0] == atoms.info["centre"]
        assert atoms.arrays["gamma"][0] == pytest.approx(atoms.arrays["gamma_parent"][0], rel=1e-6)
        assert atoms.arrays["is_core"][0]


def test_computed_grades_give_the_same_fragments(result, carving_files) -> None:
    again = carved(carving_files, "parents.xyz", out="again.xyz", regrade=True)
    assert [f.centre.atom for f in again.frames.fragments] == [
        f.centre.atom for f in result.frames.fragments
    ]


def test_threads_do_not_change_the_fragments(result, carving_files) -> None:
    again = carved(carving_files, out="threads.xyz", n_threads=2)
    first = [f.carving.fragment.structure.positions for f in result.frames.fragments]
    second = [f.carving.fragment.structure.positions for f in again.frames.fragments]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_document_holds_the_proof_and_survives_the_store(result) -> None:
    document = carving_document(result.frames.fragments[0], key="k", model_sha256="m")
    assert document.fidelity is not None
    assert document.fidelity.centre_gamma == pytest.approx(document.fidelity.parent_centre_gamma)
    assert document.fidelity.descriptor_distance < 1e-12
    assert sum(document.fidelity.composition.values()) == document.n_atoms
    content = document.record()
    content.pop("kind")
    assert CarvingDoc.model_validate(content) == document


def test_page_draws_every_fragment(result) -> None:
    page = carving_page(result)
    assert page.count("<svg") >= len(result.frames.accepted)
    assert "in the parent" in page


def test_frames_without_grades_ask_for_them(carving_files) -> None:
    with pytest.raises(CarvingError, match="`--grade`"):
        carved(carving_files, "parents.xyz", out="x.xyz")


def test_grades_of_another_model_are_found_out(carving_files) -> None:
    frames = read(carving_files / "graded.xyz", ":")
    for atoms in frames:
        atoms.arrays["gamma"] *= 3.0
    write(carving_files / "tripled.xyz", frames)
    with pytest.raises(CarvingError, match="those that the dump was made with"):
        carved(carving_files, "tripled.xyz", out="x.xyz")


def test_parent_smaller_than_the_box_is_refused(carving_files) -> None:
    train = read(carving_files / "train.xyz", -1)
    train.positions[0] += 0.5
    write(carving_files / "small.xyz", train)
    with pytest.raises(CarvingError, match="Label the parent itself"):
        carved(carving_files, "small.xyz", out="x.xyz", regrade=True)


def test_overlapping_atoms_are_not_carved(carving_files) -> None:
    atoms = read(carving_files / "parents.xyz", 0)
    atoms.positions[1] = atoms.positions[0] + 0.4
    write(carving_files / "overlap.xyz", atoms)
    with pytest.raises(CarvingError, match="atoms overlap: Cu and Cu closer"):
        carved(carving_files, "overlap.xyz", out="x.xyz", regrade=True)


def test_unknown_element_missing_lattice_and_bad_rules_are_refused(carving_files) -> None:
    atoms = read(carving_files / "graded.xyz", 0)
    atoms.numbers[3] = 47
    write(carving_files / "silver.xyz", atoms)
    with pytest.raises(ModelError, match="Ag"):
        carved(carving_files, "silver.xyz", out="x.xyz")
    (carving_files / "bare.xyz").write_text("1\n\nCu 0 0 0\n")
    with pytest.raises(StructureError, match="no `Lattice`"):
        carved(carving_files, "bare.xyz", out="x.xyz")
    with pytest.raises(InputError, match="at least 1"):
        CentreRules(budget=0)
    with pytest.raises(InputError, match="positive grade"):
        CentreRules(threshold=0.0)


def test_known_frames_give_an_empty_file(carving_files) -> None:
    result = carved(carving_files, out="empty.xyz", rules=CentreRules(threshold=1e9))
    assert result.frames.n_unknown == 0
    assert result.frames.fragments == ()
    assert (carving_files / "empty.xyz").read_text() == ""


def test_fragments_that_cannot_be_made_give_one_error(carving_files) -> None:
    with pytest.raises(CarvingError, match=r"no fragment could be made.*more than 30"):
        carved(carving_files, out="x.xyz", options=CarvingOptions(method="searched", max_atoms=30))
