"""A report reads its campaign from the records, and names what is not there."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from nepal_flows.core.nep.model import NepArchitecture, NepModel, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import RecordError
from nepal_flows.io.frames import pack_arrays, pack_frames
from nepal_flows.io.nep_outputs import format_loss
from nepal_flows.io.nep_txt import format_nep_txt, read_nep_txt
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.report import ReportData, build_report, build_verdict, report_data, summary_lines
from nepal_flows.report.newest import newest_data
from nepal_flows.schemas import (
    ApprovalDoc,
    BlobRef,
    CampaignDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

REFERENCE = -3.5
ERROR = np.array([0.003, -0.004, 0.0])
NAME = "copper-quickstart"


@pytest.fixture(scope="module")
def model() -> NepModel:
    architecture = NepArchitecture(
        elements=("Cu",),
        radial_cutoffs=(4.0,),
        angular_cutoffs=(3.5,),
        n_max_radial=2,
        n_max_angular=2,
        basis_size_radial=4,
        basis_size_angular=4,
        l_max=2,
        has_q_222=False,
        has_q_1111=False,
        n_neurons=4,
    )
    rng = np.random.default_rng(7)
    drawn = model_from_parameters(
        architecture,
        rng.normal(0, 0.3, architecture.n_parameters),
        np.ones(architecture.n_descriptors),
    )
    return read_nep_txt(format_nep_txt(drawn))


def labelled(model: NepModel, n_frames: int, seed: int) -> list[LabelledStructure]:
    """Frames whose forces miss the model's by `ERROR`, and whose energies are shifted."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n_frames):
        grid = 2.6 * np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)
        structure = Structure(
            np.full(8, 29), grid + rng.normal(0, 0.1, grid.shape), 5.2 * np.eye(3)
        )
        truth = predict(model, structure)
        frames.append(
            LabelledStructure(
                structure, energy=truth.energy + 8 * REFERENCE, forces=truth.forces - ERROR
            )
        )
    return frames


@pytest.fixture(scope="module")
def records(
    converged: ReportData, model: NepModel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Records]:
    store = embedded_job_store(tmp_path_factory.mktemp("store"))
    records = Records(store)
    store_campaign(records, converged, model)
    yield records
    store.close()


def store_campaign(records: Records, data: ReportData, model: NepModel) -> None:
    """Put the documents of a campaign into the records, with real bytes behind them."""
    put = records.blobs.put
    own = {"campaign_id": NAME}
    held_out = [doc for doc in data.labels if doc.role == "holdout"]
    frames = dict(zip((d.key for d in held_out), labelled(model, len(held_out), 3), strict=True))
    for doc in data.labels:
        blob = put(pack_frames([frames[doc.key]]), "frames.npz") if doc.key in frames else doc.frame
        records.put(doc.model_copy(update={**own, "frame": blob}))
    history = np.column_stack([np.arange(3.0), *[np.full(3, 0.1 * k) for k in range(1, 10)]])
    for doc in data.models:
        blobs = {
            "model": put(format_nep_txt(model).encode(), "nep.txt"),
            "nep_in": put(b"type 1 Cu\n", "nep.in"),
            "history": put(format_loss(history).encode(), "loss.out"),
            "dataset": put(pack_frames(labelled(model, 5, 4)), "frames.npz"),
        }
        records.put(doc.model_copy(update={**own, **blobs}))
    trace = put(pack_arrays({"step": np.arange(0, 100, 10), "gamma": np.ones(10)}), "trace.npz")
    for run in data.explorations:
        records.put(run.model_copy(update={**own, "trace": trace}))
    parity = put(pack_frames(labelled(model, 6, 5)), "frames.npz")
    for doc in data.validations:
        records.put(doc.model_copy(update={**own, "parity": parity}))
    for group in (data.active_sets, data.selections, data.iterations):
        for doc in group:
            records.put(doc.model_copy(update=own))
    records.replace(data.campaign.model_copy(update={"validation_key": "validation"}))


def test_documents_come_back_as_they_were(records: Records, converged: ReportData) -> None:
    data = report_data(records, NAME)
    assert data.missing == ()
    for kind in ("iterations", "models", "active_sets", "explorations", "validations"):
        stored = [doc.key for doc in getattr(converged, kind)]
        assert sorted(doc.key for doc in getattr(data, kind)) == sorted(stored)
    assert [doc.iteration for doc in data.iterations] == list(range(8))
    assert [doc.iteration for doc in data.selections] == [None, *range(8)]
    assert data.delivered_model is not None
    assert data.delivered_model.stage == "final"
    assert data.certificate is not None
    assert "Converged" in build_report(data)


def test_parity_is_that_of_the_delivered_model(records: Records) -> None:
    data = report_data(records, NAME)
    assert [points.dataset for points in data.parity] == ["train", "holdout", "validation"]
    for points in data.parity:
        np.testing.assert_allclose(
            points.predicted_forces - points.reference_forces,
            np.broadcast_to(ERROR, points.reference_forces.shape),
            atol=1e-12,
        )
        np.testing.assert_allclose(points.predicted_energies, points.reference_energies, atol=1e-9)
        assert points.force_rmse_meV_per_A == pytest.approx(1000 * np.sqrt((ERROR**2).mean()))


def test_history_and_traces_are_read(records: Records) -> None:
    data = report_data(records, NAME)
    assert data.histories[0].label == "the final fit"
    forces = data.histories[0].column("force_train")
    assert forces is not None
    np.testing.assert_allclose(forces, 0.5)
    assert {trace.iteration for trace in data.traces} == {7}
    assert len(data.traces) == 10
    assert data.nep_in == "type 1 Cu\n"


def test_summary_needs_no_arrays(records: Records) -> None:
    data = report_data(records, NAME, with_arrays=False, is_running=False)
    assert data.parity == ()
    assert data.traces == ()
    assert summary_lines(data)[0] == f"{NAME}: converged"


def test_summary_of_the_newest_documents_is_that_of_all(records: Records) -> None:
    everything = report_data(records, NAME, with_arrays=False, is_running=False)
    newest = newest_data(records, NAME, is_running=False)
    assert newest.labels == ()
    assert len(newest.iterations) < len(everything.iterations)
    assert summary_lines(newest) == summary_lines(everything)


def test_summary_names_what_is_lost(tmp_path, converged: ReportData, model: NepModel) -> None:
    store = embedded_job_store(tmp_path)
    records = Records(store)
    store_campaign(records, converged, model)
    key = converged.campaign.final_model_key
    records.remove(TrainingDoc, key)
    assert any(key in line for line in newest_data(records, NAME).missing)
    store.close()


def test_unknown_campaign_is_refused_with_the_known_ones(records: Records) -> None:
    with pytest.raises(RecordError, match=f"no campaign `gold`.*On record are: {NAME}"):
        report_data(records, "gold")


def test_labels_of_another_campaign_are_taken_over_with_the_role_given_here(
    tmp_path, make_campaign: Callable[..., CampaignDoc], converged: ReportData
) -> None:
    store = embedded_job_store(tmp_path)
    records = Records(store)
    reused, foreign = converged.labels[0], converged.labels[1]
    records.replace(make_campaign())
    seeds = converged.selections[0]
    frame = seeds.selected[0].model_copy(update={"role": "holdout"})
    chosen = SelectionDoc.model_validate(
        {**seeds.model_dump(), "campaign_id": NAME, "selected": [frame]}
    )
    records.put(chosen)
    records.put(reused.model_copy(update={"campaign_id": "older"}))
    records.put(foreign.model_copy(update={"campaign_id": "older"}))
    other_physics = {"key": "other", "settings_key": "f" * 64, "campaign_id": "older"}
    records.put(converged.labels[2].model_copy(update=other_physics))
    labels = report_data(records, NAME).labels
    assert [label.key for label in labels] == [reused.key]
    assert labels[0].role == "holdout"
    assert labels[0].iteration is None
    store.close()


def test_lost_documents_and_bytes_are_named(
    tmp_path, converged: ReportData, model: NepModel
) -> None:
    store = embedded_job_store(tmp_path)
    records = Records(store)
    store_campaign(records, converged, model)
    lost = converged.explorations[0]
    records.remove(type(lost), lost.key)
    label = next(d for d in report_data(records, NAME, with_arrays=False).labels if _is_held(d))
    records.blobs.remove(label.frame)
    data = report_data(records, NAME)
    assert any(lost.key in line for line in data.missing)
    assert any(line.startswith("Parity of the holdout frames cannot") for line in data.missing)
    assert [points.dataset for points in data.parity] == ["train", "validation"]
    cautions = build_verdict(data).cautions
    assert all(line.rstrip(".") + "." in cautions for line in data.missing)
    store.close()


def _is_held(label: LabelDoc) -> bool:
    return label.role == "holdout" and label.status == "done"


def test_selection_waits_until_it_is_approved(
    tmp_path, make_campaign: Callable[..., CampaignDoc], converged: ReportData
) -> None:
    store = embedded_job_store(tmp_path)
    records = Records(store)
    records.replace(make_campaign(settings={"pause_before_label": True}))
    seeds = converged.selections[0].model_copy(update={"campaign_id": NAME})
    records.put(seeds)
    assert report_data(records, NAME).is_waiting
    assert "they wait for approval" in build_report(report_data(records, NAME))
    records.put(ApprovalDoc(key=seeds.key, campaign_id=NAME))
    assert not report_data(records, NAME).is_waiting
    store.close()


def test_campaign_that_has_only_begun_is_read(
    tmp_path, make_campaign: Callable[..., CampaignDoc]
) -> None:
    store = embedded_job_store(tmp_path)
    records = Records(store)
    structures = BlobRef(sha256="0" * 64, n_bytes=1, format="frames.npz")
    records.replace(make_campaign(structures=structures))
    data = report_data(records, NAME, is_running=True)
    assert summary_lines(data)[0] == f"{NAME}: running"
    assert data.missing == ()
    store.close()
