"""Seeds and starts of a campaign."""

import numpy as np
import pytest

from nepal_flows.campaign import (
    gate_distances,
    load_campaign,
    seed_structures,
    starting_structure,
    validation_structure,
)
from nepal_flows.campaign.structures import atomic_volumes
from nepal_flows.core.seeds import close_pairs
from nepal_flows.errors import CampaignError


def test_seeds_are_the_same_every_time_and_differ_from_one_another(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    first, second = (seed_structures(loaded.campaign, loaded.structures) for _ in range(2))
    assert len(first) == 8
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.structure.positions, b.structure.positions)
    volumes = {round(seed.structure.volume, 6) for seed in first}
    assert len(volumes) == 8


def test_seeds_do_not_change_when_more_are_asked_for(edited):
    path = edited(("name: quick", "name: quick\nseeds: {n: 4, rattle_A: [0.1, 0.1]}"))
    few = load_campaign(path)
    more = few.campaign.model_copy(update={"seeds": few.campaign.seeds.model_copy(update={"n": 6})})
    before = seed_structures(few.campaign, few.structures)
    after = seed_structures(more, few.structures)
    for a, b in zip(before, after, strict=False):
        assert np.array_equal(a.structure.positions, b.structure.positions)


def test_seeds_pass_the_gate(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    distances = gate_distances(loaded.campaign.exploration.gate, loaded.structures)
    for seed in seed_structures(loaded.campaign, loaded.structures):
        assert not close_pairs(seed.structure, distances)


def test_later_seeds_are_rattled_more(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    notes = [seed.note for seed in seed_structures(loaded.campaign, loaded.structures)]
    assert "0.030" in notes[0]
    assert "0.150" in notes[-1]


def test_replicas_start_from_different_displacements(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    condition = loaded.campaign.exploration.conditions[0]
    a, b = (
        starting_structure(
            loaded.campaign, loaded.structures, condition, rng=np.random.default_rng(k)
        )
        for k in range(2)
    )
    assert a.n_atoms == b.n_atoms == 32
    assert not np.allclose(a.positions, b.positions)


def test_confirmation_is_larger(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    condition = loaded.campaign.exploration.conditions[0]
    large = starting_structure(
        loaded.campaign,
        loaded.structures,
        condition,
        rng=np.random.default_rng(0),
        size_factor=3.4,
    )
    assert large.n_atoms == 109


def test_start_that_cannot_be_made_names_its_condition(edited):
    path = edited(("{n_atoms: 32}", "{n_atoms: 4, vacancies: 4}"))
    loaded = load_campaign(path)
    with pytest.raises(CampaignError, match="`ramp` cannot start"):
        starting_structure(
            loaded.campaign,
            loaded.structures,
            loaded.campaign.exploration.conditions[0],
            rng=np.random.default_rng(0),
        )


def test_validation_needs_its_section(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    with pytest.raises(CampaignError, match="validation"):
        validation_structure(loaded.campaign, loaded.structures, rng=np.random.default_rng(0))


def test_gate_distances_follow_the_factor_and_single_pairs(edited):
    path = edited(("time_step_fs: 2.5", "gate: {min_distance_A: {Cu-Cu: 1.6}}"))
    loaded = load_campaign(path)
    assert gate_distances(loaded.campaign.exploration.gate, loaded.structures) == {(29, 29): 1.6}


def test_atomic_volumes_prefer_the_structures_given(folder):
    loaded = load_campaign(folder / "campaign.yaml")
    volumes = atomic_volumes([29, 79, 22], loaded.structures)
    assert volumes[29] == pytest.approx(loaded.structures[0].volume / 4)
    assert volumes[79] == pytest.approx(4.08**3 / 4)
    assert volumes[22] == pytest.approx(17.65, rel=0.02)  # hcp titanium
