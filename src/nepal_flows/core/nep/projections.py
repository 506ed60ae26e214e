r"""B-projections: the derivative of an atom's energy with respect to the network of its element.

For an atom of element t with scaled descriptor y, :math:`t_n = \tanh(w^0_n \cdot y - b^0_n)` and
:math:`v_n = w^1_n (1 - t_n^2)`, the projection is
:math:`b = [v_n y_0, \ldots, v_n y_{D-1}, -v_n, t_n]` over neurons n, neuron by neuron.
"""

from dataclasses import dataclass

from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class ProjectionFactors:
    """The factors of every atom's B-projection, which is lossless and far smaller than b.

    Attributes
    ----------
    types
        Type of every atom, shape (n_atoms,).
    y
        Scaled descriptors, shape (n_atoms, n_descriptors).
    v
        Output weights times the slope of the activation, shape (n_atoms, n_neurons), eV.
    t
        Activations, shape (n_atoms, n_neurons).
    """

    types: IntArray
    y: FloatArray
    v: FloatArray
    t: FloatArray


__all__ = ["ProjectionFactors"]
