"""Keys depend on what makes a thing what it is, and on nothing else."""

import numpy as np
import pytest

from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.records import keys


@pytest.fixture
def structure() -> Structure:
    positions = np.array([[0.0, 0.0, 0.0], [1.8, 1.8, 0.0]])
    return Structure(np.array([29, 79]), positions, 3.6 * np.eye(3))


def changed(structure: Structure, **fields: object) -> Structure:
    return Structure(**{**vars(structure), **fields})


def test_structure_key_ignores_digits_below_a_millionth(structure):
    noise = changed(structure, positions=structure.positions + 1e-8)
    assert keys.structure_key(noise) == keys.structure_key(structure)


def test_structure_key_ignores_the_sign_of_zero(structure):
    negative = structure.positions.copy()
    negative[negative == 0.0] = -0.0
    tiny = structure.positions - 1e-9
    assert keys.structure_key(changed(structure, positions=negative)) == keys.structure_key(
        structure
    )
    assert keys.structure_key(changed(structure, positions=tiny)) == keys.structure_key(structure)


@pytest.mark.parametrize(
    "fields",
    [
        {"numbers": np.array([79, 29])},
        {"positions": np.array([[0.0, 0.0, 0.0], [1.8, 1.8, 2e-6]])},
        {"positions": np.array([[1.8, 1.8, 0.0], [0.0, 0.0, 0.0]])},
        {"cell": np.diag([3.6, 3.6, 3.60001])},
        {"pbc": (True, True, False)},
    ],
)
def test_structure_key_tells_structures_apart(structure, fields):
    assert keys.structure_key(changed(structure, **fields)) != keys.structure_key(structure)


def test_settings_key_ignores_order_and_integer_or_float():
    first = keys.settings_key({"cutoff_Ry": 300, "k": {"rule": "folded", "mesh": (4, 4, 4)}})
    second = keys.settings_key({"k": {"mesh": [4.0, 4, 4], "rule": "folded"}, "cutoff_Ry": 300.0})
    assert first == second


@pytest.mark.parametrize("other", [{"a": 1}, {"a": "1"}, {"a": None}, {"a": [True]}, {"a": False}])
def test_settings_key_tells_types_apart(other):
    assert keys.settings_key(other) != keys.settings_key({"a": True})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_settings_key_refuses_what_json_cannot_hold(value):
    with pytest.raises(InputError, match="key"):
        keys.settings_key({"value": value})


def test_dataset_key_depends_on_order_and_weights():
    base = keys.dataset_key(["a", "b"])
    assert keys.dataset_key(["a", "b"], [1, 1]) == base
    assert keys.dataset_key(["b", "a"]) != base
    assert keys.dataset_key(["a", "b"], [1, 2]) != base
    with pytest.raises(InputError, match="3 weights for 2 labels"):
        keys.dataset_key(["a", "b"], [1, 2, 3])


def test_kinds_of_key_never_coincide():
    assert keys.label_key("a", "b") != keys.derived_key("dataset", "a", "b")
    assert keys.derived_key("x", "ab", "c") != keys.derived_key("x", "a", "bc")


def test_model_key_depends_on_everything_that_shapes_the_model():
    base = {"seed": 1, "trainer": "native", "trainer_version": "1"}
    variants = [
        base,
        base | {"seed": 2},
        base | {"trainer": "nep"},
        base | {"trainer_version": "2"},
    ]
    variants.append(base | {"initial_model_sha256": "f" * 64})
    found = {keys.model_key("d", {"steps": 10}, **variant) for variant in variants}
    assert len(found) == len(variants)


def test_derived_uuids_and_seeds_repeat():
    assert keys.derived_uuid("c", 1, "train") == keys.derived_uuid("c", 1, "train")
    assert keys.derived_uuid("c", 1, "train") != keys.derived_uuid("c", 2, "train")
    seeds = {keys.derived_seed("c", 1, "melt", replica) for replica in range(200)}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_keys_of_this_version_stay_what_they_are(structure):
    assert keys.structure_key(structure)[:12] == "67eee036ebdf"
    assert keys.settings_key({"calculator": "emt"})[:12] == "7d4a01f41ef8"
    assert keys.derived_uuid("campaign", 0)[:12] == "2f8617fe-8ba"
    assert keys.derived_seed("campaign", 0) == 768890539
