"""Settings refuse what makes no sense."""

import pytest

from nepal_flows.core.nep.training import TrainingSettings
from nepal_flows.errors import InputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": -1.0}, "`learning_rate` is -1.0"),
        ({"weight_decay": float("nan")}, "`weight_decay` is nan"),
        ({"n_adam_steps": 0, "n_lbfgs_steps": 0}, "no step"),
        ({"batch_atoms": 0}, "`batch_atoms` is 0"),
        ({"averaging_decay": 1.0}, "less than 1"),
        ({"lambda_e": 0.0, "lambda_f": 0.0, "lambda_v": 0.0}, "nothing is fitted"),
        ({"precision": "float16"}, "`float32` or `float64`"),
        ({"type_weights": (1.0, -1.0)}, "no weight may be negative"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings(**changes)  # type: ignore[arg-type]


def test_lists_from_json_become_tuples() -> None:
    settings = TrainingSettings(type_weights=[1.0, 2.0])  # type: ignore[arg-type]
    assert settings.type_weights == (1.0, 2.0)
