"""Dynamic training with force constants as the model: argon, whose fourth order is bounded."""

import itertools

import numpy as np
import pytest
import resuming
import yaml
from ase.build import bulk
from ase.io import read, write
from hiphive import ForceConstantPotential
from phonopy.file_IO import parse_FORCE_CONSTANTS

from nepal_flows.campaign import load_campaign
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import LabelledDataError, ModelError
from nepal_flows.flows import run_campaign
from nepal_flows.flows.imports import import_frames
from nepal_flows.io.frames import unpack_arrays, unpack_frames
from nepal_flows.io.structures import read_labelled
from nepal_flows.records import Records, embedded_job_store, structure_key
from nepal_flows.report import build_report, report_data
from nepal_flows.report.bundle import write_bundle
from nepal_flows.schemas import ExplorationDoc, IterationDoc, LabelDoc, SelectionDoc, TrainingDoc

N_STEPS = 400
ARGON = {
    "version": 1,
    "name": "small",
    "seed": 7,
    "structures": ["Ar.vasp"],
    "model": {"force_constants": {"cutoffs_A": [4.0, 4.0, 4.0]}},
    "labels": {
        "code": "ase",
        "calculator": "lj",
        "arguments": {"sigma": 3.405, "epsilon": 0.0104, "rc": 5.1, "ro": 4.4, "smooth": True},
    },
    "seeds": {
        "n": 2, "supercell": [2, 2, 2], "rattle_A": [0.02, 0.04],
        "volume_strain": 0.0, "shear_strain": 0.0,
    },
    "exploration": {
        "time_step_fs": 4.0,
        "check_interval": 10,
        "dynamic": {"limit_meV_per_A": 4.0, "gap_steps": 10, "expected_error_ratio": 3.0},
        "conditions": [
            {
                "name": "warm",
                "start": {"supercell": [2, 2, 2]},
                "stages": [{"ensemble": "nvt", "temperature_K": [5, 30], "steps": N_STEPS}],
            }
        ],
    },
    "selection": {"criterion": "bayes", "audit_per_iteration": 0},
    "convergence": {"clean_rounds": 1, "exceedance": 0.5, "negligible_error_meV_per_A": 5.0},
    "confirmation": {"size_factor": 1.5},
    "budget": {"labels": 30, "iterations": 30},
    "resources": {"workers": 1},
}  # fmt: skip


def campaign(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "Ar.vasp", bulk("Ar", a=5.31, cubic=True), direct=True)
    path = folder / "campaign.yaml"
    path.write_text(yaml.safe_dump(ARGON | changes))
    return path


@pytest.fixture(scope="module")
def converged(tmp_path_factory):
    return run_campaign(campaign(tmp_path_factory.mktemp("argon")))


@pytest.fixture(scope="module")
def rounds(converged):
    """Return the documents of the rounds and of their only runs, in order."""
    found = sorted(converged.records.query(IterationDoc), key=lambda doc: doc.iteration)
    load = converged.records.load
    return [(doc, load(ExplorationDoc, doc.exploration_keys[0])) for doc in found]


def test_interrupted_trajectories_go_on_and_their_frames_are_labelled(converged, rounds):
    records, n_interrupted = converged.records, 0
    for (document, before), (_, run) in itertools.pairwise(rounds):
        if before.end_state is None or run.is_confirmation:
            assert run.first_step == 0
            continue
        n_interrupted += 1
        assert "error bar" in before.reason
        assert run.first_step == before.first_step + before.finished_steps
        assert run.requested_steps == N_STEPS - run.first_step
        selection = records.load(SelectionDoc, document.selection_key)
        state = unpack_arrays(records.blobs.get(before.end_state))
        (frame,) = unpack_frames(records.blobs.get(selection.frames)).structures
        assert [entry.structure_key for entry in selection.selected] == [structure_key(frame)]
        np.testing.assert_array_equal(state["positions"], frame.positions)
    assert n_interrupted > 0


def test_it_converges_in_a_larger_supercell_from_bars_alone(converged, rounds):
    assert converged.campaign.end_state == "converged", converged.campaign.end_reasons
    last, run = rounds[-1]
    assert last.checks["expected_errors"]
    assert run.is_confirmation
    assert run.n_atoms == 48
    assert len(last.label_keys) <= 1
    assert last.n_labels_holdout == 0
    assert last.certificate.model_sha256 == last.model_sha256
    assert "displacements" in last.certificate.not_covered[0]
    assert [part.element for part in last.coverage] == ["order 2", "order 3", "order 4"]
    quiet = [run for _, run in rounds if run.outcome == "finished" and not run.is_confirmation]
    assert max(run.largest_bar_meV_per_A or 0.0 for run in quiet) <= 4.0


def test_bars_grow_by_what_new_labels_show_before_they_are_fitted_to(converged, rounds):
    shown = []
    for document, _ in rounds:
        model = converged.records.load(TrainingDoc, document.model_key)
        recent = np.square(shown[-5:] or [1.0])
        assert model.settings["calibration"] == pytest.approx(max(1.0, np.sqrt(recent.mean())))
        if document.new_label_errors is not None:
            shown.append(document.error_bars.factor * model.settings["calibration"])
    assert shown[0] > 2.0  # two seeds near the sites know nothing of what is beyond
    first = next(doc for doc, _ in rounds if doc.error_bars is not None)
    assert any("wrong by a factor" in reason for reason in first.reasons)


def test_the_bundle_is_read_by_hiphive_and_phonopy(converged, tmp_path):
    bundle = write_bundle(converged.records, converged.campaign.key, tmp_path)
    supercell = read(tmp_path / "supercell.vasp")
    potential = ForceConstantPotential.read(str(tmp_path / "force_constants.fcp"))
    written = parse_FORCE_CONSTANTS(str(tmp_path / "FORCE_CONSTANTS"))
    own = potential.get_force_constants(supercell).get_fc_array(order=2)
    np.testing.assert_allclose(written, own, atol=1e-8)
    assert np.abs(own).max() > 0.01
    assert len(read(tmp_path / "train.xyz", index=":")) == bundle.n_train
    training = converged.records.load(TrainingDoc, converged.campaign.final_model_key)
    assert training.trainer == "force_constants"
    assert "order 4 to 4 Å" in (tmp_path / "README.md").read_text()


def test_the_report_misses_nothing_and_tells_how_anharmonic_the_labels_are(converged):
    data = report_data(converged.records, converged.campaign.key)
    assert data.missing == ()
    assert data.crystal.anharmonicity["seed"] < data.crystal.anharmonicity["warm"] < 0.6
    longitudinal = data.crystal.frequencies_THz[data.crystal.points.index("X"), 2]
    assert 1.7 < longitudinal < 2.1
    page = build_report(data)
    assert "Parameters of every order" in page
    assert "nep.in" not in page
    (parity,) = data.parity
    error = parity.predicted_forces - parity.reference_forces
    rmse = 1000.0 * np.sqrt(np.mean(error**2))
    assert rmse == pytest.approx(data.delivered_model.training_errors.force_rmse_meV_per_A)


def test_exported_labels_can_be_imported_and_what_is_no_start_is_refused(converged, tmp_path):
    write_bundle(converged.records, converged.campaign.key, tmp_path)
    frames = read_labelled(tmp_path / "train.xyz")
    loaded = load_campaign(campaign(tmp_path / "again", name="again"))
    records = Records(embedded_job_store(tmp_path / "store"))
    with pytest.raises(ModelError, match="no start for force constants"):
        import_frames(records, loaded, frames, source="x", model_text="nep4 1 Ar")
    other = frames[0].structure
    strained = Structure(other.numbers, 1.1 * other.positions, 1.1 * other.cell)
    wrong = LabelledStructure(strained, energy=0.0, forces=frames[0].forces)
    with pytest.raises(LabelledDataError, match="Frame 1 cannot be imported"):
        import_frames(records, loaded, [frames[0], wrong], source="x")
    assert records.count(LabelDoc) == 0
    assert import_frames(records, loaded, frames, source="x").n_new == len(frames)


class _StopError(Exception):
    """The end of a run at a chosen sign of progress."""


def test_stops_anywhere_leave_the_campaign_bitwise_as_it_would_have_been(tmp_path):
    short = {"budget": {"labels": 5, "iterations": 4}}
    undisturbed = campaign(tmp_path / "undisturbed", **short)
    run_campaign(undisturbed)
    path = campaign(tmp_path / "stopped", **short)
    for stage, number in (("label", 1), ("train", 1), ("explore", 2), ("select", 1), ("train", 2)):
        seen = 0

        def listener(event, stage=stage, number=number):
            nonlocal seen
            seen += event.stage == stage
            if seen >= number and event.stage == stage:
                raise _StopError

        with pytest.raises(_StopError):
            run_campaign(path, listener=listener)
    run_campaign(path)
    assert resuming.contents(path) == resuming.contents(undisturbed)
