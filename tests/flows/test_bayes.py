"""A campaign whose criterion is the Bayesian error, from its posterior to its certificate."""

import numpy as np
import pytest

from nepal_flows.flows import run_campaign
from nepal_flows.io.frames import unpack_arrays
from nepal_flows.io.posterior import unpack_posterior
from nepal_flows.schemas import (
    ExplorationDoc,
    IterationDoc,
    PosteriorDoc,
    SelectionDoc,
    TrainingDoc,
)


@pytest.fixture(scope="module")
def converged(write_campaign, tmp_path_factory):
    easy = {
        "exceedance": 0.9,
        "exceedance_extreme": 0.9,
        "rank_growth": 10.0,
        "negligible_error_meV_per_A": 1e6,
        "clean_rounds": 2,
    }
    path = write_campaign(
        tmp_path_factory.mktemp("bayes"),
        convergence=easy,
        selection={"criterion": "bayes", "labels_per_iteration": 4, "audit_per_iteration": 1},
        budget={"labels": 60, "iterations": 12},
        seeds={"n": 8, "n_atoms": 8},
        confirmation={"size_factor": 2.0},
    )
    return run_campaign(path)


def test_every_model_that_explored_has_its_posterior(converged):
    records = converged.records
    posteriors = {doc.model_sha256: doc for doc in records.query(PosteriorDoc)}
    for run in records.query(ExplorationDoc):
        assert run.score == "ratio"
        assert run.gamma_low == 2.0
        document = posteriors[run.model_sha256]
        assert 0.0 < document.n_determined <= document.n_parameters
        packed = unpack_posterior(records.blobs.get(document.posterior))
        assert packed.model_sha256 == run.model_sha256
        assert packed.posterior.root.shape == (document.n_parameters, document.n_parameters)
        np.testing.assert_allclose(packed.posterior.force_scale, document.force_scale)


def test_runs_say_what_error_is_expected(converged):
    for run in converged.records.query(ExplorationDoc):
        trace = unpack_arrays(converged.records.blobs.get(run.trace))
        expected = trace["expected_rmse_eV_per_A"]
        assert expected.shape == trace["gamma"].shape
        np.testing.assert_allclose(
            run.expected_force_rmse_meV_per_A, 1e3 * np.sqrt(np.mean(expected**2))
        )
        assert run.largest_bar_meV_per_A >= run.expected_force_rmse_meV_per_A


def test_selection_goes_by_the_ratio(converged):
    chosen = [
        frame
        for document in converged.records.query(SelectionDoc)
        if document.iteration is not None
        for frame in document.selected
        if frame.role == "train" and frame.gamma_when_chosen is not None
    ]
    assert chosen
    for frame in chosen:
        assert frame.gamma_when_chosen > 2.0
        assert frame.gamma_when_chosen <= frame.gamma * (1.0 + 1e-4)


def test_the_certificate_says_what_the_bars_were_worth(converged):
    assert converged.campaign.end_state == "converged"
    last = max(converged.records.query(IterationDoc), key=lambda doc: doc.iteration)
    certificate = last.certificate
    assert (certificate.score, certificate.gamma_low) == ("ratio", 2.0)
    assert certificate.error_bars == last.error_bars
    bars = certificate.error_bars
    assert bars.n_atoms > 0
    assert bars.is_sound == (0.5 <= bars.factor <= 2.0)
    delivered = converged.records.load(TrainingDoc, converged.campaign.final_model_key)
    assert delivered.model_sha256 == certificate.model_sha256
