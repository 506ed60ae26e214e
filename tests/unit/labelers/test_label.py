"""Every structure gets a label or a reason, whatever the code does."""

import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk

from nepal_flows.core.structure import Structure
from nepal_flows.errors import StoreUnavailableError
from nepal_flows.io.frames import unpack_frames
from nepal_flows.io.structures import structure_from_atoms
from nepal_flows.labelers import (
    AseLabeler,
    LabelGate,
    label_document,
    label_structures,
)
from nepal_flows.labelers.run_directory import attempt_directory
from nepal_flows.records import BlobDirectory, Blobs, label_key, settings_key, structure_key
from nepal_flows.schemas import Ancestry

MODULE = '''
import os, signal, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from nepal_flows.errors import LabelError
from nepal_flows.labelers.protocol import RawLabel, Rung, UnconvergedLabelError


@dataclass(frozen=True)
class Moody:
    """A labeler whose mood is the volume of the cell."""

    name: str = "moody"
    max_net_force: float = 0.01

    def physics(self):
        return {"code": "moody"}

    def inputs(self):
        return {"mood": "by volume"}

    def check(self, elements):
        pass

    def ladder(self):
        return (Rung("default"), Rung("slower", {"mixing": 0.1}), Rung("slowest", {"mixing": 0.01}))

    def label(self, structure, directory, *, helpers=None):
        mood = round(structure.volume)
        mixing = (helpers or {}).get("mixing", 1.0)
        Path(directory, "trace").write_text(str(mixing))
        if mood == 2 and mixing > 0.5:
            raise UnconvergedLabelError("no convergence")
        if mood == 3:
            raise UnconvergedLabelError(f"no convergence with {mixing}")
        if mood == 4:
            raise LabelError("nonsense")
        if mood == 5:
            time.sleep(3600)
        if mood == 6:
            os.kill(os.getpid(), signal.SIGKILL)
        if mood == 11:
            raise UnconvergedLabelError("forrtl: No space left on device, unit 6")
        if mood == 7:
            raise RuntimeError("a bug")
        forces = np.zeros((structure.n_atoms, 3))
        if mood == 8:
            forces[0] = np.nan
        return RawLabel(-float(mood), forces, np.eye(3), {"mixing": mixing}, "moody 1")
'''


@pytest.fixture(scope="module")
def moody(tmp_path_factory):
    directory = tmp_path_factory.mktemp("moody")
    (directory / "moody_labeler.py").write_text(MODULE)
    sys.path.insert(0, str(directory))
    import moody_labeler

    yield moody_labeler.Moody()
    sys.path.remove(str(directory))


@pytest.fixture(scope="module")
def moody_pool(moody):
    from nepal_flows.engines.pool import WorkerPool

    with WorkerPool(2) as pool:
        yield pool


def cells(*volumes: float) -> list[Structure]:
    return [
        Structure(np.array([29]), np.zeros((1, 3)), np.diag([1.0, 1.0, volume]))
        for volume in volumes
    ]


def test_labels_come_in_order_and_each_is_handed_over_as_it_ends(moody, moody_pool):
    seen = []
    outcomes = label_structures(moody, cells(1, 9, 10), pool=moody_pool, on_done=seen.append)
    assert [outcome.label.energy for outcome in outcomes] == [-1.0, -9.0, -10.0]
    assert sorted(outcome.index for outcome in seen) == [0, 1, 2]
    assert all(outcome.reason is None for outcome in outcomes)
    assert outcomes[0].attempts[0].rung == "default"


def test_ladder_is_climbed_until_a_try_succeeds(moody, moody_pool):
    (outcome,) = label_structures(moody, cells(2), pool=moody_pool)
    assert outcome.label is not None
    assert [attempt.rung for attempt in outcome.attempts] == ["default", "slower"]
    assert outcome.attempts[0].error == "no convergence"
    assert outcome.attempts[1].changed == {"mixing": 0.1}
    assert outcome.info == {"mixing": 0.1}
    assert outcome.cost.wall_s >= sum(attempt.wall_s for attempt in outcome.attempts) - 1e-9


@pytest.mark.parametrize(
    ("volume", "n_attempts", "reason", "kind"),
    [
        (3, 3, "no convergence with 0.01", "not_converged"),
        (4, 1, "nonsense", "unusable"),
        (6, 3, "killed by SIGKILL", "crashed"),
        (7, 1, "RuntimeError: a bug", "unusable"),
        (8, 1, "NaN", "unusable"),
    ],
    ids=["unconverged", "hopeless", "crash", "bug", "garbage"],
)
def test_failure_is_given_up_with_its_reason(moody, moody_pool, volume, n_attempts, reason, kind):
    good, bad = label_structures(moody, cells(1, volume), pool=moody_pool)
    assert good.label is not None
    assert bad.label is None
    assert reason in bad.reason
    assert len(bad.attempts) == n_attempts
    assert {attempt.failure for attempt in bad.attempts} == {kind}


def test_directory_that_is_gone_is_no_fault_of_a_structure(moody, moody_pool, tmp_path):
    scratch = tmp_path / "scratch"
    seen = []

    def lose_the_directory(outcome):
        seen.append(outcome)
        shutil.rmtree(scratch, ignore_errors=True)

    with pytest.raises(StoreUnavailableError, match="it continues"):
        label_structures(
            moody,
            cells(1, 9, 10, 11, 12, 13),
            pool=moody_pool,
            scratch=scratch,
            on_done=lose_the_directory,
        )
    assert seen
    assert all(outcome.label is not None for outcome in seen)


def test_full_disk_is_no_fault_of_a_structure(moody, moody_pool, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    seen = []
    with pytest.raises(StoreUnavailableError, match="no space left"):
        label_structures(
            moody, cells(1, 3), pool=moody_pool, scratch=tmp_path, retries=0, on_done=seen.append
        )
    assert all(outcome.label is not None for outcome in seen)


def test_disk_that_is_full_for_the_code_alone_is_no_fault_of_a_structure(moody, moody_pool):
    with pytest.raises(StoreUnavailableError, match="No space left on device, unit 6"):
        label_structures(moody, cells(11), pool=moody_pool)


def test_retries_are_bounded(moody, moody_pool):
    (outcome,) = label_structures(moody, cells(3), pool=moody_pool, retries=0)
    assert len(outcome.attempts) == 1


def test_hanging_label_is_killed_once_and_the_others_are_made(moody, moody_pool):
    start = time.perf_counter()
    hung, good = label_structures(moody, cells(5, 1), pool=moody_pool, time_limit_s=1.5)
    assert time.perf_counter() - start < 10.0
    assert "time limit of 1.5 s" in hung.reason
    assert len(hung.attempts) == 1
    assert good.label is not None


def test_gate_of_the_campaign_holds(moody, moody_pool, copper):
    (outcome,) = label_structures(
        AseLabeler(), [copper], pool=moody_pool, gate=LabelGate(max_force=1e-3)
    )
    assert "largest force" in outcome.reason


def test_only_failed_tries_leave_their_files(moody, moody_pool, tmp_path):
    label_structures(moody, cells(1, 2), pool=moody_pool, scratch=tmp_path / "scratch")
    left = list((tmp_path / "scratch").iterdir())
    assert [Path(directory, "trace").read_text() for directory in left] == ["1.0"]


def test_what_killed_tries_left_is_removed_by_the_next_run(moody, moody_pool, tmp_path):
    scratch = tmp_path / "scratch"
    label_structures(moody, cells(5), pool=moody_pool, time_limit_s=1.0, scratch=scratch)
    (killed,) = scratch.iterdir()
    inspected = scratch / "label-moody-failed"
    inspected.mkdir()
    with attempt_directory(scratch, "moody") as under_way:
        label_structures(moody, cells(1), pool=moody_pool, scratch=scratch)
        assert set(scratch.iterdir()) == {inspected, under_way}
    assert not killed.exists()


def test_document_holds_the_label_and_its_ancestry(tmp_path, pool, copper):
    blobs = Blobs(BlobDirectory(tmp_path / "blobs"))
    labeler = AseLabeler()
    (outcome,) = label_structures(labeler, [copper], pool=pool)
    ancestry = Ancestry(source="exploration", condition="melt", run_key="r", step=7, gamma=9.0)
    document = label_document(
        outcome, labeler=labeler, ancestry=ancestry, blobs=blobs, campaign_id="c", iteration=2
    )
    assert document.key == label_key(structure_key(copper), settings_key(labeler.physics()))
    assert (document.status, document.reason, document.formula) == ("done", None, "Cu")
    assert (document.elements, document.n_atoms) == (["Cu"], 4)
    assert document.ancestry.step == 7
    (frame,) = unpack_frames(blobs.get(document.frame)).labelled
    assert frame.energy == document.energy_eV == outcome.label.energy
    pressure = np.trace(frame.virial) / 3 / copper.volume * 160.21766208
    assert document.pressure_GPa == pytest.approx(pressure)
    assert document.force_max_eV_per_A == np.linalg.norm(frame.forces, axis=1).max()
    assert document.labeler_version.startswith("ase")
    assert type(document).model_validate(document.model_dump(mode="json")) == document


def test_document_of_a_failure_holds_the_reason_and_the_bare_structure(tmp_path, moody, moody_pool):
    blobs = Blobs(BlobDirectory(tmp_path / "blobs"))
    (outcome,) = label_structures(moody, cells(4), pool=moody_pool)
    document = label_document(
        outcome, labeler=moody, ancestry=Ancestry(source="seed"), blobs=blobs, role="holdout"
    )
    assert (document.status, document.reason, document.role) == (
        "quarantined",
        "nonsense",
        "holdout",
    )
    assert document.energy_eV is None
    frames = unpack_frames(blobs.get(document.frame))
    assert frames.labelled == ()
    assert structure_key(frames.structures[0]) == document.structure_key


def test_virial_of_a_compressed_crystal_is_positive(pool):
    atoms = bulk("Cu", a=3.4, cubic=True)
    (outcome,) = label_structures(AseLabeler(), [structure_from_atoms(atoms)], pool=pool)
    assert np.trace(outcome.label.virial) > 1.0
