"""Labels of two settings never mix, and another version of the code is noticed and compared."""

import dataclasses
import logging

import pytest

from nepal_flows.campaign.read import load_campaign
from nepal_flows.cli.data_commands import _check_versions
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import CampaignError, LabelError
from nepal_flows.flows.cross_check import cross_checked_versions
from nepal_flows.flows.registration import register_campaign
from nepal_flows.io.frames import pack_frames
from nepal_flows.jobs.dataset import campaign_dataset
from nepal_flows.jobs.label import LabelMaker
from nepal_flows.jobs.labeler import labeler_of
from nepal_flows.labelers import LabelOutcome, label_document
from nepal_flows.records import Records, embedded_job_store, settings_key, structure_key
from nepal_flows.schemas import Ancestry, Cost, SelectedFrame, SelectionDoc


@pytest.fixture
def loaded(write_campaign, tmp_path):
    return load_campaign(write_campaign(tmp_path))


@pytest.fixture
def records(tmp_path):
    return Records(embedded_job_store(tmp_path / "store"))


@pytest.fixture
def stored(records, loaded, tmp_path):
    """Return a function that stores EMT's label of a moved structure under a version."""
    labeler = labeler_of(loaded.campaign, loaded.structures)

    def store(version, *, shift=0.0, error=0.0):
        start = loaded.structures[0]
        moved = type(start)(start.numbers, start.positions + shift, start.cell)
        raw = labeler.label(moved, tmp_path)
        done = LabelledStructure(moved, raw.energy + error, raw.forces, raw.virial)
        document = label_document(
            LabelOutcome(0, moved, done, None, (), Cost(), {}, version=version, net_force=0.0),
            labeler=labeler,
            ancestry=Ancestry(source="user"),
            blobs=records.blobs,
        )
        records.put(document)
        return document

    return store


def relabelled(loaded, **changed):
    labels = loaded.campaign.labels.model_copy(update=changed)
    return loaded.campaign.model_copy(update={"labels": labels})


def test_worker_with_other_settings_makes_no_labels(records, loaded):
    document = register_campaign(records, loaded)
    other = relabelled(loaded, arguments={"asap_cutoff": True})
    theirs = settings_key(labeler_of(loaded.campaign, loaded.structures).physics())[:12]
    mine = settings_key(labeler_of(other, loaded.structures).physics())[:12]
    with pytest.raises(LabelError, match=f"settings {mine}.* have {theirs}: they must not mix"):
        campaign_dataset(records, document.key, other)
    assert campaign_dataset(records, document.key, loaded.campaign).n_labels == 0


def test_changed_labels_section_is_refused_with_both_settings(records, loaded):
    register_campaign(records, loaded)
    theirs = settings_key(labeler_of(loaded.campaign, loaded.structures).physics())[:12]
    changed = dataclasses.replace(
        loaded, campaign=relabelled(loaded, arguments={"asap_cutoff": True})
    )
    mine = settings_key(labeler_of(changed.campaign, loaded.structures).physics())[:12]
    with pytest.raises(CampaignError, match=f"settings {theirs}, its .* now means {mine}"):
        register_campaign(records, changed)


def labelled_by(records, loaded, monkeypatch, n=1):
    """Label new frames of the campaign, as its job does."""
    document = register_campaign(records, loaded)
    start = loaded.structures[0]
    frames = [
        type(start)(start.numbers, start.positions + 0.3 + 0.1 * i, start.cell) for i in range(n)
    ]
    chosen = [
        SelectedFrame(
            structure_key=structure_key(frame),
            role="train",
            condition="ramp",
            run_key="run",
            step=0,
            gamma=0.0,
        )
        for frame in frames
    ]
    selection = SelectionDoc(
        key="selection",
        campaign_id=document.key,
        iteration=0,
        model_sha256="",
        n_candidates=n,
        budget=n,
        selected=chosen,
        frames=records.blobs.put(pack_frames(frames), "frames.npz"),
    )
    monkeypatch.setattr(Records, "current", classmethod(lambda _: records))
    records.put(selection)
    LabelMaker(campaign=loaded.campaign)._labelled(selection, list(range(n)))


def test_new_version_of_the_code_is_warned_of_once(
    records, loaded, stored, monkeypatch, caplog, tmp_path
):
    monkeypatch.chdir(tmp_path)
    stored("ancient 0.1")
    with caplog.at_level(logging.WARNING):
        labelled_by(records, loaded, monkeypatch, n=2)
    (message,) = [r.getMessage() for r in caplog.records if "were made by" in r.getMessage()]
    assert "were made by ancient 0.1, these are by" in message
    assert "nepal check-labels --versions" in message


def test_same_version_is_not_warned_of(records, loaded, monkeypatch, caplog, tmp_path):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING):
        labelled_by(records, loaded, monkeypatch, n=2)
    assert not [r for r in caplog.records if "were made by" in r.getMessage()]


def test_one_label_of_every_version_is_made_again(records, loaded, stored):
    good, bad = stored("good 1"), stored("bad 2", shift=0.1, error=0.05)
    stored("good 1", shift=0.2)
    checks = {check.recorded: check for check in cross_checked_versions(records, loaded)}
    assert set(checks) == {"good 1", "bad 2"}
    assert checks["good 1"].agreement.is_good
    assert not checks["bad 2"].agreement.is_good
    assert checks["bad 2"].agreement.energy == pytest.approx(0.05 / bad.n_atoms)
    assert checks["bad 2"].label_key == bad.key
    assert good.settings_key == bad.settings_key


def test_command_tells_that_no_label_is_on_record(write_campaign, tmp_path, capsys):
    _check_versions(write_campaign(tmp_path), tmp_path / "campaign", as_json=False)
    assert "no label of these settings is on record" in capsys.readouterr().out
