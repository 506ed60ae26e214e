"""Whether small cells pay."""

import pytest

from nepal_flows.campaign import load_campaign
from nepal_flows.campaign.advice import advice_line, cost_law
from nepal_flows.campaign.plan import build_plan


def advised(edited, times: str):
    section = f"name: quick\nsmall_cells: {{label_seconds: {times}}}"
    loaded = load_campaign(edited(("name: quick", section), ("      start: {n_atoms: 32}\n", "")))
    return build_plan(loaded.campaign, loaded.structures).advice


def test_times_that_grow_as_the_cube_make_small_cells_pay(edited):
    advice = advised(edited, "{4: 64, 8: 512, 16: 4096, 32: 32768}")
    assert advice.pays
    assert advice.cpu_s[0] < 0.1 * advice.cpu_s[1]
    assert "Small cells pay" in advice_line(advice)


def test_times_that_grow_as_the_number_of_atoms_do_not(edited):
    advice = advised(edited, "{2: 8.7, 16: 48.6}")
    assert not advice.pays
    assert "Small cells do not pay" in advice_line(advice)


def test_break_even_is_the_time_per_call_at_which_both_cost_the_same(edited):
    advice = advised(edited, "{4: 16, 8: 64, 32: 1024}")
    overhead = advice.break_even_s
    totals = [
        cpu_s + cpu_s / time * overhead
        for cpu_s, time in zip(
            advice.cpu_s, (advice.n_atoms[0] ** 2, advice.n_atoms[1] ** 2), strict=True
        )
    ]
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)


def test_law_of_times_recovers_what_it_was_made_of():
    made = {n: 7.0 + 0.02 * n**2 for n in (2, 4, 8, 16, 32)}
    assert cost_law(made) == pytest.approx([7.0, 0.0, 0.02, 0.0], abs=1e-6)


def test_without_times_the_advice_is_called_a_guess(edited):
    advice = advised(edited, "{}")
    assert not advice.is_measured
    assert "a guess" in advice_line(advice)
