"""Committees as bytes."""

import numpy as np
import pytest

from nepal_flows.core.committee import Committee
from nepal_flows.core.nep.model import model_from_parameters
from nepal_flows.core.structure import Structure
from nepal_flows.errors import ModelError
from nepal_flows.io.committee import pack_committee, unpack_committee
from nepal_flows.io.nep_in import NepInput
from nepal_flows.io.nep_txt import format_nep_txt, model_sha256, read_nep_txt


@pytest.fixture(scope="module")
def texts() -> list[str]:
    shape = {"cutoff": (4.0, 3.5), "n_max": (2, 2), "basis_size": (4, 4), "l_max": (2, 0, 0)}
    architecture = NepInput(type=["Cu"], neuron=4, **shape).architecture
    scaler = np.full(architecture.n_descriptors, 0.5)
    return [
        format_nep_txt(
            model_from_parameters(
                architecture,
                0.3 * np.random.default_rng(seed).standard_normal(architecture.n_parameters),
                scaler,
            )
        )
        for seed in range(3)
    ]


def test_a_committee_comes_back_as_it_was(texts):
    committee = Committee(tuple(read_nep_txt(text) for text in texts), 0.0123456789012345, 1.7)
    packed = unpack_committee(pack_committee(texts, committee))
    assert packed.model_sha256 == model_sha256(texts[0])
    found = packed.require_model(model_sha256(texts[0]))
    assert (found.training_deviation, found.force_scale) == (0.0123456789012345, 1.7)
    structure = Structure([29, 29], np.array([[0.0, 0, 0], [1.9, 1.7, 0.1]]), np.eye(3) * 3.7)
    bars, expected = found.bars(structure), committee.bars(structure)
    np.testing.assert_array_equal(bars.forces, expected.forces)
    np.testing.assert_array_equal(bars.ratios, expected.ratios)
    with pytest.raises(ModelError, match="speaks for the model"):
        packed.require_model(model_sha256(texts[1]))


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format": "nepal-committee-1", "members": []}']
)
def test_other_bytes_are_refused(content):
    with pytest.raises(ModelError, match="no committee"):
        unpack_committee(content)


def test_another_format_or_too_few_members_are_refused(texts):
    committee = Committee(tuple(read_nep_txt(text) for text in texts), 0.1, 1.0)
    content = pack_committee(texts, committee)
    with pytest.raises(ModelError, match="unknown format"):
        unpack_committee(content.replace(b"nepal-committee-1", b"nepal-committee-9"))
    with pytest.raises(ModelError, match="2 texts for 3 members"):
        pack_committee(texts[:2], committee)
