"""nep.restart, the state of `nep`: mean and width of every parameter, one row each, no header.

The rows are in the order of nep.txt (network, bias, expansion coefficients), without q_scaler.
"""

import numpy as np

from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray


def parsed_restart(content: bytes, n_parameters: int) -> FloatArray:
    """Return the rows of a nep.restart, shape (n_parameters, 2).

    Parameters
    ----------
    content
        The file.
    n_parameters
        Parameters of the model it must belong to.

    Raises
    ------
    InputError
        If it is cut short, of another model, or not finite.
    """
    try:
        numbers = np.array(content.split(), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"This is no nep.restart, or not a whole one: {error}.") from error
    if not content.endswith(b"\n"):
        raise InputError("The nep.restart is cut short: its last line does not end.")
    if len(numbers) != 2 * n_parameters:
        raise InputError(
            f"The nep.restart holds {len(numbers)} numbers, the model has {n_parameters} "
            "parameters of two each: it is cut short, or of another model."
        )
    rows = numbers.reshape(-1, 2)
    if not np.isfinite(rows).all() or (rows[:, 1] < 0.0).any():
        raise InputError("The nep.restart holds NaN, infinity or negative widths.")
    return rows


def format_restart(rows: FloatArray) -> str:
    """Return the text of a nep.restart from rows of shape (n_parameters, 2)."""
    return "".join(f"{mean:15.7e} {width:15.7e}\n" for mean, width in rows.tolist())


__all__ = ["format_restart", "parsed_restart"]
