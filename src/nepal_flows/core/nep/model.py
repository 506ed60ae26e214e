r"""The NEP4 model: its hyper-parameters and its numbers.

The energy of atom i of element t is
:math:`E_i = \sum_h w^1_h \tanh(\sum_d w^0_{hd} y_d - b^0_h) - b^1`, with descriptors scaled by
``q_scaler``: y = q * q_scaler [1]_.

References
----------
.. [1] Z. Fan et al., J. Chem. Phys. 157, 114801 (2022);
   K. Song et al., Nat. Commun. 15, 10208 (2024).
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from nepal_flows.core.elements import SYMBOLS, atomic_number
from nepal_flows.errors import ModelError
from nepal_flows.typing import FloatArray, IntArray


@dataclass(frozen=True)
class Zbl:
    """The universal screened-nuclear repulsion.

    Attributes
    ----------
    inner, outer
        Where the repulsion begins to be cut and where it ends, Å; both 0 in the flexible form.
    type_factor
        Factor on the sum of covalent radii that bounds ``outer`` pair by pair; None when absent.
    parameters
        Flexible form only: 10 numbers per pair of elements, shape (n_pairs, 10).
    """

    inner: float
    outer: float
    type_factor: float | None = None
    parameters: FloatArray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class NepArchitecture:
    """The hyper-parameters that fix the shape of a model.

    Attributes
    ----------
    elements
        Chemical symbols; their order is the order of types.
    radial_cutoffs, angular_cutoffs
        One per element, Å; a pair's cutoff is the mean of the two.
    n_max_radial, n_max_angular
        Largest radial index n (n_max + 1 functions).
    basis_size_radial, basis_size_angular
        Largest Chebyshev order k (basis_size + 1 functions).
    l_max
        Largest l of the three-body descriptors (1 to 8); 0 for none.
    has_q_222, has_q_1111
        Whether the four-body and the five-body invariants are present.
    n_neurons
        Neurons in the hidden layer.
    zbl
        The repulsion, or None.
    """

    elements: tuple[str, ...]
    radial_cutoffs: tuple[float, ...]
    angular_cutoffs: tuple[float, ...]
    n_max_radial: int
    n_max_angular: int
    basis_size_radial: int
    basis_size_angular: int
    l_max: int
    has_q_222: bool
    has_q_1111: bool
    n_neurons: int
    zbl: Zbl | None = None

    def __post_init__(self) -> None:
        n_types = len(self.elements)
        if n_types == 0 or len(set(self.elements)) != n_types:
            raise ModelError(
                f"`elements` is {self.elements}: name each element once, at least one."
            )
        for symbol in self.elements:
            atomic_number(symbol)
        for name in ("radial_cutoffs", "angular_cutoffs"):
            cutoffs = tuple(float(value) for value in getattr(self, name))
            if len(cutoffs) == 1:
                cutoffs *= n_types
            if len(cutoffs) != n_types or min(cutoffs) <= 0.0:
                raise ModelError(
                    f"`{name}` is {cutoffs}: give one positive number, or one per "
                    f"element ({n_types})."
                )
            object.__setattr__(self, name, cutoffs)
        object.__setattr__(self, "elements", tuple(self.elements))

    @property
    def n_types(self) -> int:
        """Number of elements."""
        return len(self.elements)

    @property
    def largest_cutoff(self) -> float:
        """Largest cutoff of any pair, Å."""
        return max(*self.radial_cutoffs, *self.angular_cutoffs)

    @property
    def n_angular_blocks(self) -> int:
        """Number of angular families: l = 1..l_max and the flags that are set."""
        return self.l_max + int(self.has_q_222) + int(self.has_q_1111)

    @property
    def n_descriptors(self) -> int:
        """Length D of the descriptor."""
        return self.n_max_radial + 1 + (self.n_max_angular + 1) * self.n_angular_blocks

    @property
    def n_projection(self) -> int:
        """Length d = n_neurons (D + 2) of the B-projection."""
        return self.n_neurons * (self.n_descriptors + 2)

    @property
    def n_coefficients(self) -> int:
        """Number of radial expansion coefficients c, both kinds."""
        radial = (self.n_max_radial + 1) * (self.basis_size_radial + 1)
        angular = (self.n_max_angular + 1) * (self.basis_size_angular + 1)
        return self.n_types**2 * (radial + angular)

    @property
    def n_parameters(self) -> int:
        """Number P of trainable numbers (without q_scaler)."""
        return self.n_types * self.n_projection + 1 + self.n_coefficients

    @property
    def atomic_numbers(self) -> IntArray:
        """Atomic numbers of the elements, shape (n_types,)."""
        return np.array([atomic_number(symbol) for symbol in self.elements], dtype=np.int64)

    def types_of(self, numbers: IntArray) -> IntArray:
        """Return the type of every atom, shape (n_atoms,), from its atomic number.

        Raises
        ------
        ModelError
            If an element is not one of the model's.
        """
        types = self._type_of_number[numbers]
        if types.min() < 0:
            missing = sorted({SYMBOLS[number] for number in np.asarray(numbers)[types < 0]})
            raise ModelError(
                f"The model knows {', '.join(self.elements)}, but the structure holds "
                f"{', '.join(missing)}. Use a model trained with these elements."
            )
        return types

    @cached_property
    def _type_of_number(self) -> IntArray:
        """Type of every atomic number, -1 for elements that are not the model's."""
        types = np.full(len(SYMBOLS), -1, dtype=np.int64)
        types[self.atomic_numbers] = np.arange(self.n_types)
        return types


@dataclass(frozen=True, eq=False)
class NepModel:
    """A NEP4 model.

    Attributes
    ----------
    architecture
        The hyper-parameters.
    w0, b0, w1
        Network of every type: shapes (T, N, D), (T, N), (T, N).
    b1
        The common output bias, eV (subtracted).
    c_radial, c_angular
        Expansion coefficients, indexed [n, k, central type, neighbour type].
    q_scaler
        Descriptor scale, shape (D,).
    max_neighbours
        Largest radial and angular neighbour count in the training data.
    """

    architecture: NepArchitecture
    w0: FloatArray
    b0: FloatArray
    w1: FloatArray
    b1: float
    c_radial: FloatArray
    c_angular: FloatArray
    q_scaler: FloatArray
    max_neighbours: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        a = self.architecture
        shapes = {
            "w0": (a.n_types, a.n_neurons, a.n_descriptors),
            "b0": (a.n_types, a.n_neurons),
            "w1": (a.n_types, a.n_neurons),
            "c_radial": (a.n_max_radial + 1, a.basis_size_radial + 1, a.n_types, a.n_types),
            "c_angular": (a.n_max_angular + 1, a.basis_size_angular + 1, a.n_types, a.n_types),
            "q_scaler": (a.n_descriptors,),
        }
        for name, shape in shapes.items():
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise ModelError(f"`{name}` has shape {array.shape}, expected {shape}.")
            if not np.isfinite(array).all():
                raise ModelError(f"`{name}` holds NaN or infinity; the model is not usable.")
            object.__setattr__(self, name, array)
        object.__setattr__(self, "b1", float(self.b1))

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols, in the order of types."""
        return self.architecture.elements

    def parameters(self) -> FloatArray:
        """Return the P trainable numbers in the order of nep.txt.

        Per type w0 (neuron-major), b0, w1; then b1; then c_radial and c_angular with the
        neighbour type running fastest. Shape (n_parameters,).
        """
        blocks = []
        for t in range(self.architecture.n_types):
            blocks += [self.w0[t].ravel(), self.b0[t], self.w1[t]]
        return np.concatenate([*blocks, [self.b1], self.c_radial.ravel(), self.c_angular.ravel()])


def model_from_parameters(
    architecture: NepArchitecture,
    parameters: FloatArray,
    q_scaler: FloatArray,
    *,
    max_neighbours: tuple[int, int] = (0, 0),
) -> NepModel:
    """Return the model whose :meth:`NepModel.parameters` are the given numbers.

    Parameters
    ----------
    architecture
        The hyper-parameters.
    parameters
        Shape (n_parameters,), in the order of nep.txt.
    q_scaler
        Shape (n_descriptors,).
    max_neighbours
        Largest neighbour counts of the data, for the header.

    Raises
    ------
    ModelError
        If there are too few or too many numbers.
    """
    a = architecture
    parameters = np.asarray(parameters, dtype=np.float64)
    if parameters.shape != (a.n_parameters,):
        raise ModelError(
            f"There are {parameters.size} parameters, but this architecture has {a.n_parameters}."
        )
    T, N, D = a.n_types, a.n_neurons, a.n_descriptors
    network = parameters[: T * a.n_projection].reshape(T, a.n_projection)
    c = parameters[T * a.n_projection + 1 :]
    radial_shape = (a.n_max_radial + 1, a.basis_size_radial + 1, T, T)
    angular_shape = (a.n_max_angular + 1, a.basis_size_angular + 1, T, T)
    n_radial = int(np.prod(radial_shape))
    return NepModel(
        architecture=a,
        w0=network[:, : N * D].reshape(T, N, D),
        b0=network[:, N * D : N * D + N],
        w1=network[:, N * D + N :],
        b1=float(parameters[T * a.n_projection]),
        c_radial=c[:n_radial].reshape(radial_shape),
        c_angular=c[n_radial:].reshape(angular_shape),
        q_scaler=q_scaler,
        max_neighbours=max_neighbours,
    )


__all__ = ["NepArchitecture", "NepModel", "Zbl", "model_from_parameters"]
