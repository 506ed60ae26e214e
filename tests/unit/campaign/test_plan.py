"""The plan: exact inputs, counts, needs, and what is refused."""

import math

import pytest
from ase.build import bulk

from nepal_flows.campaign import load_campaign
from nepal_flows.campaign.forecast import label_seconds, reduced_kpoints
from nepal_flows.campaign.labels import Cp2kLabels, EspressoLabels, KPoints
from nepal_flows.campaign.needs import labels_needed
from nepal_flows.campaign.plan import build_plan, valence_electrons
from nepal_flows.io.nep_in import read_nep_in
from nepal_flows.io.structures import structure_from_atoms


def planned(path):
    loaded = load_campaign(path)
    return build_plan(loaded.campaign, loaded.structures)


def test_nep_in_is_exact_and_readable(folder):
    plan = planned(folder / "campaign.yaml")
    nep_input = read_nep_in(plan.nep_in)
    assert nep_input.cutoff == (5.0, 4.0)
    assert nep_input.type == ("Cu",)
    assert nep_input.architecture.n_projection == plan.n_projection == 540


def test_counts_are_those_of_the_file(edited):
    plan = planned(edited(("steps: 3000}", "steps: 3000}\n      replicas: 4")))
    (condition,) = plan.conditions
    assert condition.n_runs == 4
    assert condition.n_steps == 3000
    assert condition.n_checks == 300
    assert condition.duration == pytest.approx(7.5)
    assert condition.n_atoms == 32
    assert condition.n_atoms_confirmation == 96
    assert "300 -> 1500 K" in condition.input
    assert plan.n_seeds == 8


def test_needs_follow_the_rule_of_the_rarest_element(edited):
    mix = "{n_atoms: 32, mix: {elements: [Cu, Au], fractions: [0.75, 0.25]}}"
    plan = planned(
        edited(
            ("{n_atoms: 32}", mix),
            ("name: quick", "name: quick\nseeds: {n: 0}"),
        )
    )
    copper, gold = plan.needs
    assert copper.rows_per_label == 24
    assert gold.rows_per_label == 8
    assert gold.labels_needed == (169, 507)  # 2.5 and 7.5 times 540, over 8
    audits = 2 * plan.forecast.n_iterations
    assert plan.forecast.n_labels == (169 + audits, 507 + audits)
    assert any(p.place == "budget.labels" and "Au" in p.message for p in plan.problems)


def test_labels_needed_is_the_measured_rule():
    assert labels_needed(540, 1, n_atoms=32) == (43, 127)
    assert labels_needed(540, 2, n_atoms=32) == (85, 254)


def test_sound_campaign_has_no_problem(folder):
    assert planned(folder / "campaign.yaml").problems == ()


@pytest.mark.parametrize(
    ("wrong", "place", "message"),
    [
        (("time_step_fs: 2.5", "time_step_fs: 10"), "time_step_fs", "too long for Cu"),
        (("[300, 1500]", "[300, 50000]"), "ramp", "plasma"),
        (("[300, 1500]", "[0, 1500]"), "ramp", "0 K"),
        (("steps: 3000", "steps: 3000, pressure_GPa: 5000"), "ramp", "1000 GPa"),
        (("steps: 3000", "steps: 3000, ensemble: nvt, pressure_GPa: 5"), "ramp", "means nothing"),
        (("n_atoms: 32", "n_atoms: 8, vacancies: 3"), "ramp", "too many"),
        (("n_atoms: 32", "supercell: [1, 1, 1], volume_factor: 0.05"), "ramp", "thin"),
    ],
)
def test_nonsense_is_an_error(edited, wrong, place, message):
    edits = [wrong]
    if "volume_factor" in wrong[1]:
        edits.append(("time_step_fs: 2.5", "gate: {min_distance_factor: 0.1}"))
    plan = planned(edited(*edits))
    assert any(place in p.place and message in p.message for p in plan.errors)


@pytest.mark.parametrize(
    ("wrong", "place", "message"),
    [
        (("name: quick", "name: quick\nbudget: {labels: 20}"), "budget.labels", "raise the budget"),
        (("name: quick", "name: quick\nseeds: {n: 2}"), "seeds.n", "no scale"),
        (("n_atoms: 32", "n_atoms: 2"), "ramp", "thinner than the largest cutoff"),
        (("time_step_fs: 2.5", "time_step_fs: 6"), "time_step_fs", "advised"),
        (("steps: 3000", "steps: 3000, pressure_GPa: -8"), "ramp", "tension"),
        (("steps: 3000", "steps: 1000000000"), "exploration.conditions", "days on 2 workers"),
        (
            ("name: quick", "name: quick\nbudget: {core_hours: 0.0001}"),
            "budget.core_hours",
            "expected",
        ),
    ],
)
def test_doubt_is_a_warning(edited, wrong, place, message):
    plan = planned(edited(wrong))
    assert plan.errors == ()
    assert any(place in p.place and message in p.message for p in plan.problems)


def test_cells_of_many_thousand_atoms_are_planned(edited):
    plan = planned(edited(("n_atoms: 32", "n_atoms: 2048")))
    (condition,) = plan.conditions
    assert condition.n_atoms == pytest.approx(2048, rel=0.02)
    assert condition.n_atoms_confirmation == pytest.approx(3 * 2048, rel=0.05)
    assert plan.errors == ()


def test_cutoffs_below_those_of_the_pseudopotentials_are_a_doubt(edited, folder):
    header = '<PP_HEADER pseudo_type="PAW" wfc_cutoff="47.0" rho_cutoff="0"/>'
    (folder / "Cu.UPF").write_text(header)
    labels = f"code: espresso, pseudo_dir: {folder}, pseudopotentials: {{Cu: Cu.UPF}}"
    kpoints = "ecutwfc_Ry: 30, kpoints: {mode: spacing, spacing_per_A: 0.3}"
    plan = planned(edited(("code: ase, calculator: emt", f"{labels}, {kpoints}")))
    messages = [problem.message for problem in plan.problems if problem.place == "labels"]
    assert len(messages) == 2
    assert "suggests at least 47 Ry" in messages[0]
    assert "needs about 240 Ry" in messages[1]


def test_element_that_is_never_explored_is_an_error(edited):
    plan = planned(edited(("[Cu.vasp]", "[Cu.vasp, Au.vasp]")))
    assert any("No condition holds Au" in problem.message for problem in plan.errors)


def test_slab_with_a_barostat_is_an_error(edited, folder):
    from ase.build import fcc111
    from ase.io import write

    slab = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    slab.info.clear()
    slab.pbc = (True, True, False)
    write(folder / "slab.xyz", slab)
    plan = planned(edited(("Cu.vasp", "slab.xyz")))
    assert any("npt needs" in problem.message for problem in plan.errors)


def test_slab_in_a_periodic_cell_with_a_barostat_is_a_doubt(edited, folder):
    from ase.build import fcc111
    from ase.io import write

    write(folder / "slab.vasp", fcc111("Cu", (2, 2, 4), vacuum=8.0))
    plan = planned(edited(("Cu.vasp", "slab.vasp")))
    found = [problem.message for problem in plan.problems if problem.level == "warning"]
    assert any("16.0 Å of vacuum, which npt would change" in message for message in found)


@pytest.mark.parametrize(
    ("kpoints", "place", "message"),
    [
        ("{grid: [5, 5, 5]}", "grid", "neither 2 nor 3"),
        ("{grid: [4, 4, 4], offset: [true, true, true]}", "offset", "lacks the symmetry"),
        ("{grid: [6, 6, 4]}", "grid", "Use equal numbers"),
    ],
)
def test_grid_that_cannot_fold_or_lacks_the_symmetry_is_refused(edited, kpoints, place, message):
    folded = f"{{code: espresso, pseudopotentials: {{Cu: Cu.upf}}, kpoints: {kpoints}}}"
    plan = planned(
        edited(
            ("{code: ase, calculator: emt}", folded),
            ("{n_atoms: 32}", "{n_atoms: 5, mode: folded}"),
            ("name: quick", "name: quick\nseeds: {n_atoms: 1, mode: folded}"),
        )
    )
    found = [p.message for p in plan.errors if p.place == f"labels.kpoints.{place}"]
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("code", "ecut", "grid", "seconds"),
    [
        ("espresso", 30, (4, 4, 4), 43.4),
        ("espresso", 20, (6, 6, 6), 80.0),
        ("espresso", 30, (6, 6, 6), 149.5),
        ("cp2k", 30, (4, 4, 4), 85.0),
        ("cp2k", 30, (6, 6, 6), 100.8),
    ],
)
def test_label_forecast_meets_the_measured_silicon_labels(code, ecut, grid, seconds):
    structure = structure_from_atoms(bulk("Si").repeat((2, 2, 2)))
    kpoints = KPoints(grid=grid)
    labels = (
        EspressoLabels(code="espresso", pseudopotentials={"Si": "Si.upf"}, ecutwfc_Ry=ecut)
        if code == "espresso"
        else Cp2kLabels(code="cp2k")
    )
    n_kpoints = reduced_kpoints(kpoints, n_atoms=16, volume=structure.volume, primitive_n_atoms=2)
    forecast = label_seconds(labels, n_atoms=16, n_kpoints=n_kpoints, valences={"Si": 4.0})
    assert forecast == pytest.approx(seconds, rel=0.2)


def test_spacing_gives_the_k_points_of_its_grid():
    rule = KPoints(mode="spacing", spacing_per_A=2 * math.pi / 16.0)
    reduced = reduced_kpoints(rule, n_atoms=4, volume=4.0**3, primitive_n_atoms=1)
    assert reduced == pytest.approx(0.5 * (16**3 / 64 + 1))


def test_forecast_grows_with_what_is_asked(edited, folder):
    small = planned(folder / "campaign.yaml").forecast
    large = planned(edited(("steps: 3000", "steps: 30000"))).forecast
    assert large.n_checks == 10 * small.n_checks
    assert large.cpu_s > 2 * small.cpu_s


@pytest.mark.parametrize(
    ("symbol", "electrons"), [("H", 1), ("Si", 4), ("Cu", 11), ("Ga", 3), ("Au", 11), ("Pb", 4)]
)
def test_valence_electrons(symbol, electrons):
    assert valence_electrons(symbol) == electrons
