"""Stages of small cells: what a mode fills in, what a stage explores, and when it is over."""

import numpy as np
import pytest

from nepal_flows.campaign import load_campaign, seed_structures, starting_structure
from nepal_flows.campaign.plan import build_plan
from nepal_flows.campaign.small_cells import fitting_range
from nepal_flows.campaign.stages import campaign_at, n_stages, stage_end
from nepal_flows.errors import CampaignError
from nepal_flows.flows.steps import next_step
from nepal_flows.schemas import ConditionVerdict, ElementCoverage, Errors, IterationDoc

STARTS = ("      start: {n_atoms: 32}\n", "")
RECOMMENDED = ("name: quick", "name: quick\nsmall_cells: {}")
PUBLISHED = ("name: quick", "name: quick\nsmall_cells: {mode: published}")
SILICON = (
    ("[Cu.vasp]", "[Si.vasp]"),
    ("labels: {code: ase, calculator: emt}", "labels: {code: cp2k}"),
)


def iteration(**changes) -> IterationDoc:
    """Return an iteration of the first stage that found something to learn."""
    verdict = ConditionVerdict(
        condition="ramp",
        is_extreme=False,
        is_clean=False,
        n_runs=1,
        requested_steps=100,
        finished_steps=100,
        n_checks=10,
        n_windows=10,
        n_exceeded_windows=5,
        exceedance=0.5,
        exceedance_upper_95=0.8,
        allowance=0.005,
        gamma_max=20.0,
        gamma_median=6.0,
    )
    coverage = ElementCoverage(
        element="Cu",
        n_rows=100,
        n_distinct_rows=100,
        n_projection=540,
        rank=100,
        is_saturated=False,
        largest_training_grade=1.0,
    )
    content = {
        "key": "quick/iteration/0",
        "campaign_id": "quick",
        "iteration": 0,
        "phase": "loop",
        "model_key": "m",
        "model_sha256": "s",
        "active_set_key": "a",
        "exploration_keys": [],
        "selection_key": "s",
        "label_keys": [],
        "n_labels_total": 20,
        "n_labels_training": 20,
        "n_labels_holdout": 0,
        "n_labels_failed": 0,
        "n_atoms_labelled": 140,
        "conditions": [verdict],
        "coverage": [coverage],
        "training_errors": Errors(n_structures=20, n_atoms=140),
        "checks": {},
        "reasons": [],
        "is_clean": False,
        "n_clean_rounds": 0,
        **changes,
    }
    return IterationDoc.model_validate(content)


def found_nothing(**changes) -> IterationDoc:
    document = iteration(**changes)
    verdicts = [v.model_copy(update={"n_exceeded_windows": 0}) for v in document.conditions]
    return document.model_copy(update={"conditions": verdicts})


def test_recommended_mode_fills_in_seeds_starts_and_stages(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    assert [stage.n_atoms for stage in campaign.small_cells.stages] == [(6, 8), (12, 16), 54]
    assert (campaign.seeds.n, campaign.seeds.n_atoms, campaign.seeds.mode) == (32, (4, 8), "hnf")
    start = campaign.exploration.conditions[0].start
    assert (start.rattle_A, start.strain) == (0.1, 0.02)
    assert campaign.exploration.burn_in_steps == 200


def test_what_the_file_says_is_kept(edited):
    own = "name: quick\nsmall_cells: {}\nseeds: {n: 10, rattle_A: [0.2, 0.3]}"
    path = edited(("name: quick", own), ("start: {n_atoms: 32}", "start: {rattle_A: 0.01}"))
    campaign = load_campaign(path).campaign
    assert (campaign.seeds.n, campaign.seeds.rattle_A) == (10, (0.2, 0.3))
    assert campaign.seeds.mode == "hnf"
    assert campaign.exploration.conditions[0].start.rattle_A == 0.01


def test_published_mode_begins_with_ideal_one_atom_cells_of_21_lattice_constants(edited):
    loaded = load_campaign(edited(PUBLISHED, STARTS))
    seeds = [seed.structure for seed in seed_structures(loaded.campaign, loaded.structures)]
    lengths = np.cbrt([4.0 * seed.volume for seed in seeds])
    assert {seed.n_atoms for seed in seeds} == {1}
    np.testing.assert_allclose(lengths / 3.61, np.linspace(0.75, 1.25, 21), rtol=1e-9)
    sizes = [stage.n_atoms for stage in loaded.campaign.small_cells.stages]
    assert sizes == [2, 4, 6, 8, 16, 54]


def test_a_stage_is_a_campaign_whose_conditions_start_in_its_cells(edited):
    loaded = load_campaign(edited(RECOMMENDED, STARTS))
    sizes = []
    for index in range(n_stages(loaded.campaign)):
        staged = campaign_at(loaded.campaign, index)
        assert staged.small_cells is None
        condition = staged.exploration.conditions[0]
        sizes.append(
            {
                starting_structure(
                    staged, loaded.structures, condition, rng=np.random.default_rng(seed)
                ).n_atoms
                for seed in range(30)
            }
        )
    assert sizes[0] == {6, 7, 8}  # 7 also from eight with a vacancy
    assert {12, 16} <= sizes[1] <= set(range(11, 17))
    assert sizes[2] == {53, 54}


def test_shapes_of_replicas_differ(edited):
    loaded = load_campaign(edited(RECOMMENDED, STARTS))
    staged = campaign_at(loaded.campaign, 0)
    cells = [
        starting_structure(
            staged,
            loaded.structures,
            staged.exploration.conditions[0],
            rng=np.random.default_rng(seed),
        ).cell
        for seed in range(12)
    ]
    shapes = {tuple(np.round(np.linalg.norm(cell, axis=1), 1)) for cell in cells}
    assert len(shapes) > 8


def test_cells_fold_where_the_labels_do(edited):
    path = edited(RECOMMENDED, STARTS, *SILICON, ("time_step_fs: 2.5", "time_step_fs: 1.5"))
    loaded = load_campaign(path)
    assert loaded.campaign.seeds.mode == "folded"
    for index in range(n_stages(loaded.campaign)):
        staged = campaign_at(loaded.campaign, index)
        assert staged.exploration.conditions[0].start.mode == "folded"


def test_random_shapes_are_refused_where_the_labels_fold(edited):
    own = "name: quick\nsmall_cells: {stages: [{n_atoms: 8, cells: hnf}, {n_atoms: 64}]}"
    path = edited(("name: quick", own), STARTS, *SILICON)
    with pytest.raises(CampaignError, match=r"small_cells.stages\[0\].*not `folded`"):
        load_campaign(path)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("{stages: [{n_atoms: 16}, {n_atoms: 8}]}", "stages grow"),
        ("{stages: [{n_atoms: 8, conditions: [melt]}]}", "names `melt`; the conditions are ramp"),
        ("{stages: [{n_atoms: 8, conditions: []}]}", "names none"),
        ("{stages: [{n_atoms: [9, 7]}]}", "must be a range"),
        ("{stages: [{n_atoms: 1000, cells: hnf}]}", "512 unit cells"),
        ("{mode: growing}", "'recommended' or 'published'"),
        ("{sizes: [2, 4]}", "not a key here"),
    ],
)
def test_stages_that_make_no_sense_are_refused(edited, section, message):
    path = edited(("name: quick", f"name: quick\nsmall_cells: {section}"), STARTS)
    with pytest.raises(CampaignError, match=message):
        load_campaign(path)


def test_sizes_of_starts_are_refused_beside_stages(edited):
    with pytest.raises(CampaignError, match="decided by the stages of `small_cells`"):
        load_campaign(edited(RECOMMENDED))


def test_plan_shows_the_stages_and_doubts_a_small_last_one(edited):
    own = "name: quick\nsmall_cells: {stages: [{n_atoms: [2, 8], max_rounds: 3}, {n_atoms: 16}]}"
    loaded = load_campaign(edited(("name: quick", own), STARTS))
    plan = build_plan(loaded.campaign, loaded.structures)
    assert [(s.words, s.shape, s.max_rounds) for s in plan.stages] == [
        ("2 to 8 atoms", "hnf", 3),
        ("16 atoms", "hnf", None),
    ]
    doubts = " ".join(problem.message for problem in plan.problems)
    assert "says nothing of larger" in doubts
    assert "one environment, not two" in doubts


@pytest.mark.parametrize(
    ("smallest", "largest", "units", "expected"),
    [
        (6, 8, [1], (6, 8)),
        (6, 8, [2], (6, 8)),
        (6, 8, [5], (5, 8)),
        (4, 8, [12], (4, 12)),
        (6, 8, [1, 10], (6, 10)),
    ],
)
def test_ranges_hold_a_multiple_of_every_unit_cell(smallest, largest, units, expected):
    assert fitting_range(smallest, largest, units) == expected


def test_a_stage_goes_on_until_its_rounds_are_over(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    assert stage_end(iteration(stage_round=2, rank_gain=0.9), campaign) is None
    assert "4 rounds" in stage_end(iteration(stage_round=3, rank_gain=0.9), campaign)


def test_a_stage_ends_when_the_ranks_stop_growing_but_not_by_the_seeds_alone(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    assert stage_end(iteration(stage_round=0, rank_gain=0.1), campaign) is None
    assert "ranks grew by 10 %" in stage_end(iteration(stage_round=1, rank_gain=0.1), campaign)


def test_a_published_stage_ends_only_when_a_whole_round_finds_nothing(edited):
    campaign = load_campaign(edited(PUBLISHED, STARTS)).campaign
    assert stage_end(iteration(stage_round=8, rank_gain=0.0), campaign) is None
    assert "nothing" in stage_end(found_nothing(stage_round=8), campaign)


def test_runs_that_broke_off_are_no_sign_that_nothing_is_found(edited):
    campaign = load_campaign(edited(PUBLISHED, STARTS)).campaign
    document = found_nothing()
    cut = [v.model_copy(update={"finished_steps": 40}) for v in document.conditions]
    assert stage_end(document.model_copy(update={"conditions": cut}), campaign) is None


def test_the_last_stage_never_ends_by_itself(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    assert stage_end(found_nothing(size_stage=2, stage_round=9), campaign) is None


def test_next_step_walks_through_the_stages_and_confirms_only_in_the_last(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    same = next_step(iteration(stage_round=1, rank_gain=0.9), campaign).state
    assert (same.size_stage, same.stage_round, same.phase) == (0, 2, "loop")
    ready = {"is_ready_for_confirmation": True, "n_clean_rounds": 2}
    above = next_step(found_nothing(stage_round=2, **ready), campaign).state
    assert (above.size_stage, above.stage_round, above.phase) == (1, 0, "loop")
    assert above.n_clean_rounds == 0
    last = next_step(found_nothing(size_stage=2, **ready), campaign).state
    assert (last.size_stage, last.phase) == (2, "confirmation")


def test_a_stage_that_could_be_confirmed_gives_way_to_the_next(edited):
    campaign = load_campaign(edited(PUBLISHED, STARTS)).campaign
    document = iteration(stage_round=3, is_ready_for_confirmation=True)
    state = next_step(document, campaign).state
    assert (state.size_stage, state.phase) == (1, "loop")


def test_a_stalled_stage_gives_way_to_the_next_and_does_not_end_the_campaign(edited):
    campaign = load_campaign(edited(PUBLISHED, STARTS)).campaign
    step = next_step(iteration(stage_round=7, is_stalled=True), campaign)
    assert (step.end_state, step.state.size_stage) == (None, 1)


def test_keys_that_are_younger_leave_the_hashes_of_older_campaigns_alone(edited):
    campaign = load_campaign(edited(("name: quick", "name: quick"))).campaign
    content = campaign.model_dump(mode="json")
    assert "small_cells" not in content
    assert "lattice_factor" not in content["seeds"]
    assert "vacancy_probability" not in content["exploration"]["conditions"][0]["start"]
    assert content["exploration"]["conditions"][0]["start"]["volume_factor"] == 1.0


def test_small_cells_survive_the_way_through_a_job(edited):
    campaign = load_campaign(edited(RECOMMENDED, STARTS)).campaign
    assert type(campaign).from_dict(campaign.as_dict()) == campaign
    staged = campaign_at(campaign, 1)
    assert type(staged).from_dict(staged.as_dict()) == staged


def test_a_start_draws_its_volume_from_a_range(edited):
    path = edited(("start: {n_atoms: 32}", "start: {n_atoms: 32, volume_factor: [0.9, 1.1]}"))
    loaded = load_campaign(path)
    condition = loaded.campaign.exploration.conditions[0]
    volumes = [
        starting_structure(
            loaded.campaign, loaded.structures, condition, rng=np.random.default_rng(seed)
        ).volume
        / (32 * 3.61**3 / 4)
        for seed in range(20)
    ]
    assert 0.9 <= min(volumes) < 0.97
    assert 1.03 < max(volumes) <= 1.1
