"""A rough copper model to run; see tests/data/copper/README.md."""

from pathlib import Path

import pytest

from nepal_flows.core.nep.model import NepModel
from nepal_flows.io.nep_txt import read_nep_txt

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def copper_model() -> NepModel:
    return read_nep_txt(DATA / "copper" / "nep.txt")
