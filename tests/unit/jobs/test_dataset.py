"""Which labels a campaign trains on, and which it only ever tests against."""

import numpy as np
import pytest

from nepal_flows.campaign.read import load_campaign
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import LabelError
from nepal_flows.flows.local import remove_failed
from nepal_flows.flows.registration import register_campaign
from nepal_flows.io.frames import pack_frames
from nepal_flows.jobs import LabelMaker
from nepal_flows.jobs.dataset import campaign_dataset
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.labelers import LabelOutcome, label_document
from nepal_flows.records import Records, embedded_job_store, label_key, settings_key, structure_key
from nepal_flows.schemas import Ancestry, Cost, LabelDoc, SelectedFrame, SelectionDoc


@pytest.fixture
def loaded(write_campaign, tmp_path):
    return load_campaign(write_campaign(tmp_path))


@pytest.fixture
def records(tmp_path):
    return Records(embedded_job_store(tmp_path / "store"))


@pytest.fixture
def campaign_id(records, loaded):
    return register_campaign(records, loaded).key


@pytest.fixture
def labelled(records, loaded):
    """Return a function that stores the label of a numbered frame and returns the frame's key."""
    labeler = labeler_of(loaded.campaign, loaded.structures)

    def label(number: int, *, campaign_id: str | None = None, reason: str | None = None) -> str:
        start = loaded.structures[0]
        moved = type(start)(start.numbers, start.positions + 0.01 * number, start.cell)
        done = LabelledStructure(moved, -1.0, np.zeros((moved.n_atoms, 3)))
        outcome = LabelOutcome(0, moved, None if reason else done, reason, (), Cost(), {})
        document = label_document(
            outcome,
            labeler=labeler,
            ancestry=Ancestry(source="exploration"),
            blobs=records.blobs,
            campaign_id=campaign_id,
        )
        records.put(document)
        return structure_key(moved)

    return label


def asked(records, campaign_id, name, iteration, **roles):
    """Store a selection of frames, by key, with their roles."""
    frames = [
        SelectedFrame(structure_key=key, role=role, condition="ramp", run_key="", step=0, gamma=6.0)
        for key, role in roles.items()
    ]
    records.put(
        SelectionDoc(
            key=name,
            campaign_id=campaign_id,
            iteration=iteration,
            model_sha256="m",
            n_candidates=9,
            budget=9,
            selected=frames,
            frames=records.blobs.put(pack_frames([]), "frames.npz") if not frames else None,
        )
    )


def test_labels_of_an_interrupted_iteration_are_not_known_to_its_own_model(
    records, loaded, campaign_id, labelled
):
    seed, first, second = (labelled(number) for number in range(3))
    asked(records, campaign_id, "seed", None, **{seed: "train"})
    asked(records, campaign_id, "zero", 0, **{first: "train"})
    asked(records, campaign_id, "one", 1, **{second: "train"})
    known = {
        before: [
            entry.label.structure_key
            for entry in campaign_dataset(
                records, campaign_id, loaded.campaign, before=before
            ).train
        ]
        for before in (0, 1, None)
    }
    assert known == {0: [seed], 1: [seed, first], None: [seed, first, second]}


def test_a_frame_asked_for_twice_counts_once_and_is_never_held_out_when_trained_on(
    records, loaded, campaign_id, labelled
):
    frame = labelled(1)
    asked(records, campaign_id, "before the change", 0, **{frame: "holdout"})
    asked(records, campaign_id, "after the change", 0, **{frame: "train"})
    dataset = campaign_dataset(records, campaign_id, loaded.campaign)
    assert (dataset.n_labels, len(dataset.train), len(dataset.holdout)) == (1, 1, 0)


def test_failed_labels_are_tried_again_whoever_asked_for_them_first(
    records, loaded, campaign_id, labelled
):
    frame = labelled(1, campaign_id="another", reason="it did not converge")
    other = labelled(2, campaign_id="another", reason="it did not converge")
    asked(records, campaign_id, "zero", 0, **{frame: "train"})
    assert remove_failed(records, campaign_id, loaded.campaign) == 1
    assert [label.structure_key for label in records.query(LabelDoc)] == [other]


def test_labels_whose_jobs_died_count_as_failed(records, loaded, labelled):
    settings = settings_key(labeler_of(loaded.campaign, loaded.structures).physics())
    keys = [label_key(labelled(1), settings), "lost", "lost too"]
    maker = LabelMaker(campaign=loaded.campaign)
    with pytest.raises(LabelError, match=r"2 of 3 labels failed.*the jobs of 2 died"):
        maker._checked(records, keys)
    assert maker._checked(records, keys[:1]).keys == keys[:1]
