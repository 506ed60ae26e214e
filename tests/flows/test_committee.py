"""Campaigns whose criterion is a committee, alone or with another, and a kill of a member."""

import numpy as np
import pytest
from resuming import contents, run

from nepal_flows.core.committee import calibrated_committee, force_deviations
from nepal_flows.core.nep.potential import predict
from nepal_flows.flows import run_campaign
from nepal_flows.io.committee import unpack_committee
from nepal_flows.io.frames import unpack_arrays, unpack_frames
from nepal_flows.io.nep_txt import read_nep_txt
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import (
    ActiveSetDoc,
    CommitteeDoc,
    ExplorationDoc,
    IterationDoc,
    MemberDoc,
    PosteriorDoc,
    SelectionDoc,
    TrainingDoc,
)

EASY = {
    "exceedance": 0.9,
    "exceedance_extreme": 0.9,
    "rank_growth": 10.0,
    "negligible_error_meV_per_A": 1e6,
    "clean_rounds": 2,
}
COMMITTEE = {
    "criterion": "committee",
    "committee": {"n_models": 3},
    "labels_per_iteration": 4,
    "audit_per_iteration": 1,
}


@pytest.fixture(scope="module")
def converged(write_campaign, tmp_path_factory):
    path = write_campaign(
        tmp_path_factory.mktemp("committee"),
        convergence=EASY,
        selection=COMMITTEE,
        budget={"labels": 60, "iterations": 12},
        seeds={"n": 8, "n_atoms": 8},
        confirmation={"size_factor": 2.0},
    )
    return run_campaign(path)


def test_every_model_that_explored_has_a_committee_of_which_it_is_the_first(converged):
    records = converged.records
    committees = {doc.model_sha256: doc for doc in records.query(CommitteeDoc)}
    for run_doc in records.query(ExplorationDoc):
        assert (run_doc.score, run_doc.gamma_low) == ("spread", 2.0)
        document = committees[run_doc.model_sha256]
        assert document.n_models == 3
        assert len(document.member_keys) == 2
        packed = unpack_committee(records.blobs.get(document.committee))
        assert packed.model_sha256 == run_doc.model_sha256
        training = records.load(TrainingDoc, document.model_key)
        frames = unpack_frames(records.blobs.get(training.dataset)).labelled
        members = packed.committee.members
        expected = calibrated_committee(members, frames)
        assert document.force_scale == pytest.approx(expected.force_scale)
        assert document.training_deviation_meV_per_A == pytest.approx(
            1e3 * expected.training_deviation
        )


def test_members_are_drawn_apart_and_go_on_from_themselves(converged):
    members = list(converged.records.query(MemberDoc, sort={"iteration": 1}))
    assert {member.number for member in members} == {1, 2}
    assert len({member.model_sha256 for member in members}) == len(members)
    for member in members:
        model = converged.records.load(TrainingDoc, member.model_key)
        assert member.stage == model.stage
        assert member.settings["n_adam_steps"] == model.settings["n_adam_steps"]
        assert member.n_structures == model.n_structures
        assert member.n_distinct_structures == member.n_structures
        line = [m.model_sha256 for m in members if m.number == member.number]
        if model.parent_model_sha256 is None:
            assert member.parent_model_sha256 is None
        else:
            assert member.parent_model_sha256 in line[: line.index(member.model_sha256)]
    assert any(member.parent_model_sha256 for member in members)


def test_frames_are_scored_by_what_members_disagree_about(converged):
    records = converged.records
    runs = [doc for doc in records.query(ExplorationDoc) if doc.candidates is not None]
    assert runs
    run_doc = runs[-1]
    grader = records.load(ActiveSetDoc, run_doc.active_set_key)
    document = next(doc for doc in records.query(CommitteeDoc) if doc.active_set_key == grader.key)
    texts = [records.load(TrainingDoc, document.model_key), *(
        records.load(MemberDoc, key) for key in document.member_keys
    )]  # fmt: skip
    models = [read_nep_txt(records.blobs.get(doc.model).decode()) for doc in texts]
    frames = unpack_frames(records.blobs.get(run_doc.candidates))
    for structure, scores in zip(frames.structures, frames.arrays["gamma"], strict=True):
        s = force_deviations(np.array([predict(model, structure).forces for model in models]))
        expected = 1e3 * s / document.training_deviation_meV_per_A
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
        assert scores.max() > 2.0
    trace = unpack_arrays(records.blobs.get(run_doc.trace))
    assert trace["largest_bar_eV_per_A"].max() * 1e3 == pytest.approx(run_doc.largest_bar_meV_per_A)


def test_the_certificate_and_the_costs_speak_of_the_committee(converged):
    assert converged.campaign.end_state == "converged"
    rounds = list(converged.records.query(IterationDoc, sort={"iteration": 1}))
    certificate = rounds[-1].certificate
    assert (certificate.score, certificate.gamma_low) == ("spread", 2.0)
    assert certificate.error_bars.n_atoms > 0
    assert rounds[0].costs["committee"].wall_s > 0.0
    members = [m for m in converged.records.query(MemberDoc) if m.iteration == 0]
    assert rounds[0].costs["committee"].wall_s >= sum(m.cost.wall_s for m in members)
    chosen = [
        frame
        for document in converged.records.query(SelectionDoc)
        if document.iteration is not None
        for frame in document.selected
        if frame.role == "train"
    ]
    assert chosen
    assert all(frame.gamma > 2.0 for frame in chosen)
    assert any("farthest" in (frame.note or "") for frame in chosen)


def test_all_criteria_at_once_find_unknown_what_any_of_them_does(write_campaign, tmp_path):
    selection = COMMITTEE | {"criterion": ["grade", "bayes", "committee"]}
    path = write_campaign(
        tmp_path, selection=selection, budget={"labels": 14, "iterations": 2}, seeds={"n": 8},
        convergence={"rank_growth": 10.0},
    )  # fmt: skip
    records = run_campaign(path).records
    (first, *_) = records.query(IterationDoc, sort={"iteration": 1})
    assert {"posterior", "committee"} <= set(first.costs)
    assert records.count(PosteriorDoc) >= 1
    for run_doc in records.query(ExplorationDoc):
        assert (run_doc.score, run_doc.gamma_low) == ("level", 1.0)
        assert run_doc.largest_bar_meV_per_A > 0.0


def test_a_member_that_was_killed_is_trained_again_to_the_same_campaign(write_campaign, tmp_path):
    changes = {
        "selection": COMMITTEE | {"committee": {"n_models": 3, "bootstrap": True}},
        "budget": {"labels": 10, "iterations": 1},
        "training": {"adam_steps": 150, "lbfgs_steps": 20, "final_adam_steps": 60,
                     "final_lbfgs_steps": 5},
    }  # fmt: skip
    whole = write_campaign(tmp_path / "whole", **changes)
    cut = write_campaign(tmp_path / "cut", **changes)
    assert run(whole).returncode == 0
    killed = run(cut, "train member", "8")
    assert killed.returncode == -9, killed.stderr
    before = Records(embedded_job_store(cut.parent / "small" / "store"))
    done = {doc.key: doc.created_at for doc in before.query(MemberDoc)}
    assert run(cut).returncode == 0
    after = Records(embedded_job_store(cut.parent / "small" / "store"))
    assert {key: after.load(MemberDoc, key).created_at for key in done} == done
    for kind in (MemberDoc, CommitteeDoc):
        models = [
            {(d.key, d.model_sha256) for d in Records(
                embedded_job_store(path.parent / "small" / "store")
            ).query(kind)}
            for path in (whole, cut)
        ]  # fmt: skip
        assert models[0] == models[1]
        assert models[0]
    assert contents(whole) == contents(cut)
    for member in after.query(MemberDoc):
        model = after.load(TrainingDoc, member.model_key)
        assert member.n_structures == model.n_structures
        assert 0 < member.n_distinct_structures < member.n_structures
