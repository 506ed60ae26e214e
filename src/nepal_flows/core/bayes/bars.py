r"""Error bars of what a potential predicts: energy, forces and stress of a frame.

The bar of a prediction is :math:`e = c s`, see :mod:`nepal_flows.core.bayes.evidence`. The s of an
atom's force is the root mean square over its three components, and does not depend on axes.
R = s / rms(s of the training forces) says how much farther an atom lies from the data than the
training atoms do; it means the same for any size of the training set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.bayes.evidence import Posterior
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.neighbours import NeighbourList
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.scoring import ForceBars
from nepal_flows.core.structure import Structure
from nepal_flows.errors import InputError
from nepal_flows.typing import FloatArray
from nepal_flows.units import EV_PER_CUBIC_ANGSTROM_TO_GPA


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameBars(ForceBars):
    """Error bars of one frame, one standard deviation each.

    Attributes
    ----------
    energy
        Of the energy per atom, eV; NaN where the training data had no energies.
    stress
        Of xx, yy, zz, xy, yz and zx, GPa, shape (6,); NaN where the training data had no virials.
    """

    energy: float
    stress: FloatArray


@dataclass(frozen=True, eq=False)
class PosteriorBars:
    """What gives error bars from the posterior of a model.

    Attributes
    ----------
    posterior, model
        They belong together.
    """

    posterior: Posterior
    model: NepModel

    def bars(self, structure: Structure) -> FrameBars:
        """Return the error bars of a structure; see :func:`frame_bars`."""
        return frame_bars(self.posterior, self.model, structure)


def frame_bars(
    posterior: Posterior,
    model: NepModel,
    structure: Structure,
    *,
    neighbours: NeighbourList | None = None,
) -> FrameBars:
    """Return the error bars of a structure's energy, forces and stress.

    Parameters
    ----------
    posterior
        Of the model.
    model, structure
        The potential and the atoms.
    neighbours
        A list of these atoms with at least the model's largest cutoff; made when absent.

    Raises
    ------
    ModelError
        If the structure holds an element that the model does not know.
    InputError
        If the posterior is of another model's shape.
    """
    features = frame_features(model, structure, layer=posterior.layer, neighbours=neighbours)
    if features.forces.shape[1] != len(posterior.root):
        raise InputError(
            f"The posterior has {len(posterior.root)} parameters, the model has "
            f"{features.forces.shape[1]}. Use the posterior of this model."
        )
    n = structure.n_atoms
    rows = np.concatenate([features.forces, features.virial, features.energy[None] / n])
    deviations = posterior.deviations(rows)
    of_atoms = np.sqrt(np.mean(deviations[: 3 * n].reshape(n, 3) ** 2, axis=1))
    scales = posterior.scales
    per_volume = EV_PER_CUBIC_ANGSTROM_TO_GPA / structure.volume
    return FrameBars(
        energy=float(scales[0] * deviations[-1]),
        forces=scales[1] * of_atoms,
        stress=scales[2] * deviations[3 * n : 3 * n + 6] * per_volume,
        ratios=of_atoms / posterior.training_deviations[1],
    )


def bars_by_frame(
    posterior: Posterior, model: NepModel, structures: Sequence[Structure], *, n_threads: int = 1
) -> list[FrameBars]:
    """Return the error bars of many structures, in order; arguments as for :func:`frame_bars`."""
    return map_in_threads(
        lambda structure: frame_bars(posterior, model, structure), structures, n_threads
    )


@dataclass(frozen=True)
class Calibration:
    """What error bars were worth on frames the model had not seen.

    Attributes
    ----------
    n_atoms
        Atoms compared.
    factor
        Root mean square of error over bar, 1 when the bars are right; what 0.5 to 2 leaves is a
        warning.
    within_one, within_two
        Share of components within one and two bars; 0.68 and 0.95 of Gaussian errors.
    """

    n_atoms: int
    factor: float
    within_one: float
    within_two: float

    @property
    def is_sound(self) -> bool:
        """Whether the bars were right within a factor of two."""
        return 0.5 <= self.factor <= 2.0


def calibration(bars: FloatArray, errors: FloatArray) -> Calibration | None:
    """Return what bars were worth; None without atoms.

    Parameters
    ----------
    bars
        Of every atom, shape (n,), eV/Å.
    errors
        Predicted minus true forces, shape (n, 3), eV/Å.

    Raises
    ------
    InputError
        If shapes differ or a number is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> calibration(np.array([0.1]), np.array([[0.1, -0.1, 0.1]])).factor
    1.0
    """
    if errors.shape != (len(bars), 3):
        raise InputError(f"`errors` has shape {errors.shape}, expected ({len(bars)}, 3).")
    if not (np.isfinite(bars).all() and np.isfinite(errors).all()):
        raise InputError("`bars` or `errors` hold NaN or infinity. Drop the frames they are of.")
    if len(bars) == 0:
        return None
    z = np.abs(errors) / np.maximum(bars, np.finfo(np.float64).tiny)[:, None]
    return Calibration(
        n_atoms=len(bars),
        factor=float(np.sqrt(np.mean(z**2))),
        within_one=float(np.mean(z < 1.0)),
        within_two=float(np.mean(z < 2.0)),
    )


__all__ = [
    "Calibration",
    "FrameBars",
    "PosteriorBars",
    "bars_by_frame",
    "calibration",
    "frame_bars",
]
