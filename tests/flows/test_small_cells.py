"""A campaign in small cells: it walks through its stages, and resumes in the one it was in."""

import sys
from collections import Counter
from pathlib import Path

import pytest
from resuming import contents, run

from nepal_flows.errors import LabelError
from nepal_flows.flows import run_campaign
from nepal_flows.records import Records, embedded_job_store
from nepal_flows.schemas import CampaignDoc, ExplorationDoc, IterationDoc, LabelDoc

CHANGES = {
    "small_cells": {
        "stages": [{"n_atoms": [4, 6], "max_rounds": 2}, {"n_atoms": 16, "cells": "supercell"}],
        "rank_gain": 0,
    },
    "seeds": {"n": 6},
    "exploration": {
        "time_step_fs": 2.5,
        "conditions": [
            {
                "name": "ramp",
                "stages": [{"temperature_K": [300, 900], "steps": 200}],
                "replicas": 2,
            },
        ],
    },
    "budget": {"labels": 20, "iterations": 4},
}


def iterations(campaign: Path) -> list[IterationDoc]:
    records = Records(embedded_job_store(campaign.parent / "small" / "store"))
    return list(records.query(IterationDoc, sort={"iteration": 1}))


@pytest.fixture(scope="module")
def staged(write_campaign, tmp_path_factory):
    """Return a campaign of two stages that has used up its four iterations."""
    path = write_campaign(tmp_path_factory.mktemp("staged"), **CHANGES)
    return path, run_campaign(path)


def test_campaign_walks_through_its_stages(staged):
    path, result = staged
    rounds = [(doc.size_stage, doc.stage_round) for doc in iterations(path)]
    assert rounds == [(0, 0), (0, 1), (1, 0), (1, 1)]
    runs = result.records.query(ExplorationDoc)
    sizes = {doc.iteration: doc.n_atoms for doc in runs}
    assert {sizes[0], sizes[1]} <= {4, 5, 6}
    assert {sizes[2], sizes[3]} <= {15, 16}


def test_sums_of_every_stage_are_those_of_its_labels(staged):
    path, result = staged
    last = iterations(path)[-1]
    labels = list(result.records.query(LabelDoc))
    by_stage: dict[str, list[int]] = {}
    for label in labels:
        stage = "seeds" if label.iteration is None else str(int(label.iteration >= 2))
        by_stage.setdefault(stage, []).append(label.n_atoms)
    assert set(last.label_sums) == set(by_stage)
    for stage, sizes in by_stage.items():
        sums = last.label_sums[stage]
        assert (sums.n_labels, sums.n_atoms) == (len(sizes), sum(sizes))
        assert sums.n_atoms_squared == sum(n * n for n in sizes)
        assert sums.n_atoms_cubed == sum(n**3 for n in sizes)
    spent = sum(cost.cpu_s for cost in last.label_costs.values())
    assert spent == pytest.approx(sum(label.cost.cpu_s for label in labels), abs=1e-2)


def test_force_bias_is_measured_in_every_round(staged):
    path, _ = staged
    for doc in iterations(path):
        assert 0.0 <= doc.force_bias.small_force_share <= 1.0
        assert doc.force_bias.whole is not None
        n_atoms = sum(part.n_atoms for part in doc.force_bias.by_magnitude)
        assert n_atoms == doc.force_bias.whole.n_atoms


def test_no_frame_of_the_burn_in_is_offered(staged):
    _, result = staged
    steps = [
        label.ancestry.step
        for label in result.records.query(LabelDoc)
        if label.ancestry.source == "exploration"
    ]
    assert steps
    assert min(steps) > 20


def test_a_campaign_killed_in_a_stage_goes_on_there(staged, tmp_path, write_campaign):
    expected = contents(staged[0])
    campaign = write_campaign(tmp_path, **CHANGES)
    for stage, number in (("explore", 6), ("select", 3)):
        process = run(campaign, stage, str(number))
        assert process.stdout.strip() == f"killed in {stage}", process.stderr
    assert run(campaign).returncode == 0
    assert contents(campaign) == expected
    assert Counter(doc.size_stage for doc in iterations(campaign)) == {0: 2, 1: 2}


def test_alloys_draw_compositions_and_shapes_anew(write_campaign, tmp_path):
    mix = {"elements": ["Cu", "Au"]}
    path = write_campaign(
        tmp_path,
        **CHANGES
        | {
            "seeds": {"n": 8, "mix": mix},
            "exploration": {
                "time_step_fs": 2.5,
                "conditions": [
                    {
                        "name": "ramp",
                        "start": {"mix": mix},
                        "stages": [{"temperature_K": [300, 600], "steps": 100}],
                        "replicas": 3,
                    },
                ],
            },
            "budget": {"labels": 16, "iterations": 2},
        },
    )
    result = run_campaign(path)
    labels = list(result.records.query(LabelDoc))
    assert len({label.formula for label in labels}) >= 6
    found = [label for label in labels if label.ancestry.source == "exploration"]
    assert {symbol for label in found for symbol in label.elements} == {"Cu", "Au"}


def test_cells_that_disagree_with_their_supercells_end_the_campaign_before_a_label(
    write_campaign, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parent), *sys.path])
    monkeypatch.setenv("NEPAL_CALCULATORS", "calculators")
    labels = {"code": "ase", "calculator": "calculators:DependsOnSize", "time_limit_s": 60}
    path = write_campaign(tmp_path, **CHANGES | {"labels": labels})
    with pytest.raises(LabelError, match="differ by"):
        run_campaign(path)
    records = Records(embedded_job_store(path.parent / "small" / "store"))
    assert records.count(LabelDoc) == 0
    assert next(records.query(CampaignDoc)).end_state == "failed"
