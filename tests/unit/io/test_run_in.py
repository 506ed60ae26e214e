"""run.in: what is put around a user's body, and what of it is refused."""

import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.run_in import Grading, body_steps, run_in_of

GRADING = Grading(check_interval=10, gamma_high=1000.0)
BODY = """
# pull it apart
velocity   600
time_step  1.5

ensemble   npt_scr 300 600 100 0 0 0 100 100 100 1000   # equilibrate
run        2000
ensemble npt_scr 600 600 100 0 0 0 100 100 100 1000
deform 0.0001 1 0 0
dump_xyz 500 strained.xyz velocity
run 500
"""


def made(body=BODY, **changes):
    options = {"grading": GRADING, "seed": 7, "time_step_fs": 2.0} | changes
    return run_in_of(body, **options)


def test_grading_and_thermo_stand_before_every_run():
    lines = made().text.splitlines()
    runs = [number for number, line in enumerate(lines) if line.startswith("run ")]
    assert len(runs) == 2
    for number in runs:
        assert lines[number - 2] == "dump_thermo 10"
        assert lines[number - 1] == (
            "compute_extrapolation asi_file active_set.asi gamma_low 0 gamma_high 1000 "
            "check_interval 10 dump_interval 1"
        )


def test_what_the_user_wrote_stays_in_its_order():
    ours = ("potential", "dump_thermo", "compute_extrapolation")
    kept = [line for line in made().text.splitlines() if not line.startswith(ours)]
    assert kept == [
        "velocity 600 seed 7",
        "time_step 1.5",
        "ensemble npt_scr 300 600 100 0 0 0 100 100 100 1000",
        "run 2000",
        "ensemble npt_scr 600 600 100 0 0 0 100 100 100 1000",
        "deform 0.0001 1 0 0",
        "dump_xyz 500 strained.xyz velocity",
        "run 500",
    ]


def test_blocks_know_their_steps_and_targets():
    blocks = made().blocks
    assert [block.n_steps for block in blocks] == [2000, 500]
    assert [block.temperature_K for block in blocks] == [(300.0, 600.0), (600.0, 600.0)]
    assert made().n_steps == body_steps(BODY) == 2500


@pytest.mark.parametrize(
    ("line", "target"),
    [
        ("nve", None),
        ("nvt_lan 5 9 100", (5.0, 9.0)),
        ("npt_mttk temp 5 9 iso 0 10 tperiod 50", (5.0, 9.0)),
        ("nph_mttk iso 0 0", None),
        ("heat_lan 300 100 10 0 1", None),
    ],
)
def test_targets_are_read_from_the_ensembles_that_have_them(line, target):
    assert made(f"ensemble {line}\nrun 5").blocks[0].temperature_K == target


def test_seed_velocities_and_time_step_are_added_where_the_body_names_none():
    head = made("ensemble nvt_lan 450 600 100\nrun 10").text.splitlines()[:3]
    assert head == ["potential nep.txt", "time_step 2", "velocity 450 seed 7"]


def test_a_seed_of_the_user_stays():
    assert "velocity 300 seed 99\n" in made("velocity 300 seed 99\nensemble nve\nrun 1").text


def test_large_seeds_fit_the_integers_of_the_program():
    text = made("ensemble nve\nrun 1", seed=2**62 + 5).text
    seed = int(text.split("seed ")[1].split()[0])
    assert 0 <= seed < 2**31


def test_newer_versions_get_the_model_named():
    text = made(grading=Grading(10, 50.0, names_model=True)).text
    assert "compute_extrapolation nep_file nep.txt asi_file active_set.asi gamma_low 0" in text


def test_ungraded_blocks_come_first_and_carry_no_grading():
    run_in = made(n_ungraded=1)
    assert [block.is_graded for block in run_in.blocks] == [False, True]
    assert run_in.text.count("compute_extrapolation") == 1
    assert run_in.text.count("dump_thermo") == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [(BODY, False), ("ensemble nve\nmc canonical 10 10 300 300\nrun 5", True),
     ("ensemble pimd 8 300 300 100\nrun 5", True)],
)  # fmt: skip
def test_grades_beside_which_other_atoms_are_written_are_known(body, expected):
    assert made(body).needs_regrading is expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("potential mine.txt\nensemble nve\nrun 5", "line 1 of run_in.*newest model"),
        ("ensemble nve\ncompute_extrapolation asi_file a\nrun 5", "line 2.*put in before every"),
        ("ensemble nve\ndump_thermo 5\nrun 5", "dump_thermo"),
        ("replicate 2 2 2\nensemble nve\nrun 5", "under `start`"),
        ("active 5 1 1 0.1\nensemble nve\nrun 5", "the campaign itself"),
        ("deposit x\nensemble nve\nrun 5", "anew for every deposition"),
        ("dump_observer observe 2 1 1 0 0\nensemble nve\nrun 5", "further potentials"),
        ("ensamble nve\nrun 5", "Did you mean `ensemble`"),
        ("ensemble nve\nrun 1e5", "whole number of steps"),
        ("ensemble nve\nrun 0", "whole number of steps"),
        ("ensemble nve\nrun 5\nrun 5", "no `ensemble` before it"),
        ("ensemble nve\n# run 5", "holds no `run`"),
        ("ensemble nve\nfix " + "0 " * 40 + "\nrun 5", "41 words"),
    ],
)
def test_bodies_that_contradict_the_campaign_are_refused(body, words):
    with pytest.raises(InputError, match=words):
        made(body)


def test_keywords_of_other_versions_pass():
    assert "spin_dynamics 1 2 3\n" in made("spin_dynamics 1 2 3\nensemble nve\nrun 5").text
