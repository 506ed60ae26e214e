"""Labels are kept in a file, found in the store after a kill, and made only when asked for."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.campaign.read import load_campaign
from nepal_flows.core.structure import Structure
from nepal_flows.engines.pool import close_shared_pool
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.io.structures import structure_from_atoms
from silicon.references import References


@pytest.fixture(scope="module")
def loaded(write_campaign, tmp_path_factory):
    yield load_campaign(write_campaign(tmp_path_factory.mktemp("campaign")))
    close_shared_pool()


@pytest.fixture(scope="module")
def copper() -> list[Structure]:
    cells = [bulk("Cu", "fcc", a=a, cubic=True) for a in (3.55, 3.65)]
    cells[0].rattle(0.05, seed=1)
    return [structure_from_atoms(atoms) for atoms in cells]


@pytest.fixture(scope="module")
def labelled(loaded, copper, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    references = References(loaded, folder / "labels.npz", folder / "work", may_label=True)
    labels = references("two", copper)
    assert [label.energy for label in labels] != [0.0, 0.0]
    return folder


def test_labels_are_read_from_the_file_without_the_code(loaded, copper, labelled):
    again = References(loaded, labelled / "labels.npz", labelled / "nowhere")
    labels = again("two", copper)
    assert [label.n_atoms for label in labels] == [4, 4]
    assert np.abs(labels[0].forces).max() > 0.1
    assert again.version.startswith("ase")
    assert not (labelled / "nowhere").exists()


def test_labels_are_found_in_the_store_after_a_kill(loaded, copper, labelled, monkeypatch):
    monkeypatch.setattr(
        "nepal_flows.labelers.label.attempt_label", lambda *args: pytest.fail("labelled again")
    )
    killed = References(
        loaded, labelled / "not-written.npz", labelled / "work", may_label=True, workers=1
    )
    first = References(loaded, labelled / "labels.npz", labelled / "work")("two", copper)
    again = killed("two", copper)
    assert [label.energy for label in again] == [label.energy for label in first]


def test_missing_labels_are_not_made_unasked(loaded, copper, labelled):
    silent = References(loaded, labelled / "labels.npz", labelled / "work")
    with pytest.raises(CampaignError, match="--label"):
        silent("other", copper)
    with pytest.raises(CampaignError, match="--label"):
        silent.relaxed("rest", copper[0])


def test_labels_of_other_structures_are_refused(loaded, copper, labelled):
    references = References(loaded, labelled / "labels.npz", labelled / "work")
    with pytest.raises(LabelError, match="other structures"):
        references("two", copper[::-1])


def test_relaxation_is_kept(loaded, copper, tmp_path):
    made = References(loaded, tmp_path / "labels.npz", tmp_path / "work", may_label=True)
    final = made.relaxed("rest", copper[0])
    assert np.linalg.norm(final.forces, axis=1).max() < 0.02
    again = References(loaded, tmp_path / "labels.npz", tmp_path / "nowhere")
    assert again.relaxed("rest", copper[0]).energy == final.energy


def test_forgotten_labels_are_gone_from_the_store_too(loaded, copper, tmp_path):
    made = References(loaded, tmp_path / "labels.npz", tmp_path / "work", may_label=True)
    made("one", copper[:1])
    made.forget()
    assert not made.kept
    assert not (tmp_path / "work" / "store").exists()
