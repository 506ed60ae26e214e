"""The physics gate: which frames no potential should be asked about, and no code should label.

Distances, volumes and temperatures are judged, never energies, so the gate works with a model
that extrapolates. A frame that fails carries its reason.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nepal_flows.core.elements import SYMBOLS
from nepal_flows.core.neighbours import neighbour_list, pair_vectors
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray, IntArray

TEMPERATURE_FLUCTUATION = 8.0
"""Allowance for the fluctuation of the kinetic temperature: 8 / sqrt(n_atoms) target temperatures.

The relative standard deviation is sqrt(2 / 3n), so this is about ten of them.
"""


@dataclass(frozen=True)
class PhysicsGate:
    """What ends a run and bars a frame from being labelled.

    Attributes
    ----------
    min_distances
        Smallest allowed distance by pair of atomic numbers (smaller first), Å; pairs that are not
        named are not judged.
    volume_ratio
        Smallest and largest volume, over that of the start.
    temperature_factor
        Largest kinetic temperature over the target for many atoms, dimensionless.
    temperature_margin
        ... plus this, K.

    Raises
    ------
    InputError
        If a limit makes no sense.
    """

    min_distances: Mapping[tuple[int, int], float] = field(default_factory=dict)
    volume_ratio: tuple[float, float] = (0.6, 1.7)
    temperature_factor: float = 3.0
    temperature_margin: float = 1500.0

    def __post_init__(self) -> None:
        low, high = self.volume_ratio
        if not 0.0 <= low < 1.0 < high:
            raise InputError(f"`volume_ratio` is ({low:g}, {high:g}); it must enclose 1.")
        if self.temperature_factor < 1.0 or self.temperature_margin < 0.0:
            raise InputError(
                f"`temperature_factor` is {self.temperature_factor:g} and `temperature_margin` "
                f"{self.temperature_margin:g} K, expected at least 1 and 0."
            )
        for (a, b), distance in self.min_distances.items():
            if a > b or not 0.0 <= distance < math.inf:
                raise InputError(
                    f"`min_distances` holds ({a}, {b}): {distance:g}; give the smaller atomic "
                    "number first and a distance in Å that is not negative."
                )

    def largest_temperature(self, target: float, n_atoms: int) -> float:
        """Return the largest kinetic temperature that passes, K.

        Parameters
        ----------
        target
            Temperature asked for, K.
        n_atoms
            Number of atoms; few atoms fluctuate more.
        """
        fluctuation = TEMPERATURE_FLUCTUATION / math.sqrt(n_atoms)
        return target * (self.temperature_factor + fluctuation) + self.temperature_margin

    def distance_matrix(self, numbers: IntArray) -> FloatArray:
        """Return the smallest distance for every pair of the given atomic numbers, Å.

        Shape (n, n) for n numbers; 0 where a pair is not judged.
        """
        limits = np.zeros((len(numbers), len(numbers)))
        for i, first in enumerate(numbers):
            for j, second in enumerate(numbers):
                pair = (int(min(first, second)), int(max(first, second)))
                limits[i, j] = self.min_distances.get(pair, 0.0)
        return limits

    def violation(
        self,
        structure: Structure,
        *,
        start_volume: float | None = None,
        temperature: float | None = None,
        target_temperature: float | None = None,
    ) -> str | None:
        """Return why a frame fails, or None if it passes.

        Parameters
        ----------
        structure
            The frame.
        start_volume
            Volume the run began with, Å^3; not judged if None.
        temperature, target_temperature
            Kinetic and target temperature, K; not judged if one is None.
        """
        if start_volume is not None:
            ratio = structure.volume / start_volume
            if not self.volume_ratio[0] <= ratio <= self.volume_ratio[1]:
                return self.volume_reason(ratio)
        if temperature is not None and target_temperature is not None:
            limit = self.largest_temperature(target_temperature, structure.n_atoms)
            if not temperature <= limit:
                return self.temperature_reason(temperature, limit)
        return self._distance_violation(structure)

    def volume_reason(self, ratio: float) -> str:
        """Return the reason for a volume outside the range."""
        low, high = self.volume_ratio
        return f"volume {ratio:.3g} of the start, allowed {low:g} to {high:g}"

    def temperature_reason(self, temperature: float, limit: float) -> str:
        """Return the reason for a temperature above its limit, both in K."""
        return f"temperature {temperature:.4g} K, allowed up to {limit:.4g} K"

    def distance_reason(self, first: int, second: int, distance: float) -> str:
        """Return the reason for a distance (Å) of two atomic numbers below its limit."""
        a, b = sorted((int(first), int(second)))
        limit = self.min_distances[a, b]
        return f"{SYMBOLS[a]}-{SYMBOLS[b]} {distance:.3f} Å, allowed from {limit:.3f} Å"

    def _distance_violation(self, structure: Structure) -> str | None:
        reach = max(self.min_distances.values(), default=0.0)
        if reach <= 0.0:
            return None
        neighbours = neighbour_list(structure, reach)
        if neighbours.n_pairs == 0:
            return None
        central = np.repeat(np.arange(structure.n_atoms), np.diff(neighbours.offsets))
        vectors = pair_vectors(neighbours, structure.positions, structure.cell)
        distances = np.linalg.norm(vectors, axis=1)
        elements, types = np.unique(structure.numbers, return_inverse=True)
        limits = self.distance_matrix(elements)[types[central], types[neighbours.indices]]
        worst = int(np.argmin(distances - limits))
        if distances[worst] >= limits[worst]:
            return None
        numbers = structure.numbers
        i, j = central[worst], neighbours.indices[worst]
        return self.distance_reason(numbers[i], numbers[j], float(distances[worst]))


__all__ = ["TEMPERATURE_FLUCTUATION", "PhysicsGate"]
