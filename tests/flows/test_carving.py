"""A campaign whose cells are too large to be labelled: it labels fragments of them."""

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.io import write

from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import unpack_frames
from nepal_flows.report.loading import report_data
from nepal_flows.report.page import build_report
from nepal_flows.schemas import (
    CarvingDoc,
    CarvingRoundDoc,
    ExplorationDoc,
    LabelDoc,
    SelectionDoc,
)

CARVED: dict = {
    "name": "large",
    "structures": ["Cu.vasp", "hole.vasp"],
    "seeds": {"n": 4, "n_atoms": 8, "structures": ["Cu"]},
    "exploration": {
        "time_step_fs": 2.5,
        "conditions": [
            {
                "name": "hole",
                "start": {"structure": "hole"},
                "stages": [{"ensemble": "nvt", "temperature_K": 400, "steps": 40}],
            },
            {
                "name": "small",
                "start": {"n_atoms": 8},
                "stages": [{"ensemble": "nvt", "temperature_K": 400, "steps": 40}],
            },
        ],
    },
    "confirmation": {"size_factor": 1.0},
    "carving": {"parent_atoms": 200, "max_atoms": 130, "method": "searched"},
    "budget": {"labels": 10, "iterations": 2},
}


@pytest.fixture(scope="module")
def finished(write_campaign, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    path = write_campaign(folder, **CARVED)
    atoms = bulk("Cu", cubic=True, a=3.6) * (5, 5, 5)
    del atoms[np.flatnonzero(atoms.get_distances(250, range(500), mic=True) < 3.0)]
    write(folder / "hole.vasp", atoms, direct=True)
    return path, run_campaign(path)


def test_fragments_are_labelled_and_large_cells_are_not(finished) -> None:
    _, run = finished
    large = {doc.key for doc in run.records.query(ExplorationDoc) if doc.n_atoms > 200}
    labels = list(run.records.query(LabelDoc))
    assert large
    assert max(label.n_atoms for label in labels) <= 130
    assert any(label.ancestry.run_key in large for label in labels)


def test_every_fragment_has_its_proof(finished) -> None:
    _, run = finished
    rounds = list(run.records.query(CarvingRoundDoc))
    documents = {doc.key: doc for doc in run.records.query(CarvingDoc)}
    assert rounds
    accepted = [d for d in documents.values() if d.status == "accepted"]
    assert accepted
    for document in accepted:
        fidelity = document.fidelity
        assert fidelity is not None
        assert fidelity.centre_gamma == pytest.approx(fidelity.parent_centre_gamma, rel=1e-6)
        assert document.n_parent_atoms > 200
        assert document.condition == "hole"
    for carving in rounds:
        assert set(carving.carving_keys) <= set(documents)
        if carving.fragments is not None:
            frames = unpack_frames(run.records.blobs.get(carving.fragments))
            assert (~frames.scalars["audit"]).sum() == carving.n_accepted


def test_selection_names_the_fragments_it_chose(finished) -> None:
    _, run = finished
    chosen = [
        frame
        for doc in run.records.query(SelectionDoc)
        for frame in doc.selected
        if frame.condition == "hole"
    ]
    assert chosen
    assert all("a fragment of" in (frame.note or "") for frame in chosen)


def test_plan_says_what_is_carved_and_why(finished, capsys) -> None:
    from nepal_flows.cli.app import run_app

    path, _ = finished
    assert run_app(["plan", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "more than `carving.parent_atoms` 200: carved into fragments" in shown
    content = yaml.safe_load(path.read_text())
    content["carving"] = {"mode": "never"}
    path.with_name("never.yaml").write_text(yaml.safe_dump(content))
    assert run_app(["plan", str(path.with_name("never.yaml"))]) == 0
    assert "carved into" not in capsys.readouterr().out


def test_report_shows_what_every_fragment_kept(finished) -> None:
    _, run = finished
    data = report_data(run.records, run.campaign.key)
    page = build_report(data)
    assert data.fragments
    for view in data.fragments:
        assert view.region.parents[0] == view.document.centre
        assert view.region.grades[0] == pytest.approx(view.parent_grades[0], rel=1e-6)
    assert page.count("as it is labelled") == len(data.fragments)
    assert not [line for line in data.missing if "fragment" in line]
    assert "Fragments of large cells" in page
    assert page.count("boundary γ") == 1
