"""nep.restart: read whole, or not at all."""

import numpy as np
import pytest

from nepal_flows.errors import InputError
from nepal_flows.io.nep_restart import format_restart, parsed_restart

ROWS = np.array([[1.25, 0.1], [-3e-8, 0.0], [7.0, 2.5]])


def test_rows_survive_a_round_trip():
    np.testing.assert_allclose(parsed_restart(format_restart(ROWS).encode(), 3), ROWS, rtol=1e-7)


@pytest.mark.parametrize(
    ("content", "n", "words"),
    [
        (format_restart(ROWS), 4, "of another model"),
        (format_restart(ROWS)[:61], 3, "not a whole one"),
        (format_restart(ROWS)[:-2], 3, "cut short"),
        (format_restart(ROWS)[:64], 3, "cut short"),
        (format_restart(ROWS).replace("7.0000000e+00", "nan"), 3, "NaN"),
        (format_restart(-ROWS), 3, "negative widths"),
        ("one two", 1, "no nep.restart"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(content, n, words):
    with pytest.raises(InputError, match=words):
        parsed_restart(content.encode(), n)
