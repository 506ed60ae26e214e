"""The check of a labeler's settings finds what is planted."""

import sys

import pytest

from nepal_flows.engines.pool import WorkerPool
from nepal_flows.errors import LabelError
from nepal_flows.labelers.consistency import check_consistency

MODULE = '''
from dataclasses import dataclass, replace
import numpy as np
from nepal_flows.labelers import AseLabeler


@dataclass(frozen=True)
class Flawed(AseLabeler):
    """EMT with a flaw."""

    flaw: str = ""

    def label(self, structure, directory, *, helpers=None):
        raw = AseLabeler("emt").label(structure, directory)
        if self.flaw == "sign":
            return replace(raw, virial=-raw.virial)
        if self.flaw == "energy":
            return replace(raw, energy=raw.energy + 0.05 * structure.volume)
        if self.flaw == "grid":
            return replace(raw, energy=raw.energy + 0.01 * np.sin(structure.positions).sum())
        if self.flaw == "k-points":
            return replace(raw, energy=raw.energy + 0.01 * (structure.n_atoms > 4))
        if self.flaw == "nan":
            return replace(raw, energy=np.nan)
        if self.flaw == "no stress":
            return replace(raw, virial=None)
        return raw
'''


@pytest.fixture(scope="module")
def flawed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("flawed")
    (directory / "flawed_labeler.py").write_text(MODULE)
    sys.path.insert(0, str(directory))
    import flawed_labeler

    with WorkerPool(2) as pool:
        yield lambda flaw, cell: check_consistency(
            flawed_labeler.Flawed(flaw=flaw), cell, pool=pool
        )
    sys.path.remove(str(directory))


@pytest.mark.parametrize(
    ("flaw", "problems"),
    [
        ("", []),
        ("no stress", []),
        ("sign", ["stress is not the derivative", "negative virial"]),
        ("energy", ["stress is not the derivative"]),
        ("grid", ["forces are not the gradient", "where the atoms lie", "doubled cell"]),
        ("k-points", ["doubled cell"]),
    ],
)
def test_flaws_are_named(flawed, copper, flaw, problems):
    found = flawed(flaw, copper).problems
    assert len(found) == len(problems)
    for problem, sentence in zip(problems, found, strict=True):
        assert problem in sentence


def test_failed_label_is_an_error(flawed, copper):
    with pytest.raises(LabelError, match="Label 0 of the check failed: The energy"):
        flawed("nan", copper)
