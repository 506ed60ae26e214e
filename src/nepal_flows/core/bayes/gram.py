r"""Gram matrices of a data set, streamed: all that the evidence needs to know of it.

Per kind of row (energy per atom, force component, virial component per atom) the products
:math:`G = \Phi^T \Phi`, the number of rows and the sum of squared residuals are kept, never the
rows themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nepal_flows.core.bayes.features import FrameFeatures, Layer, frame_features, n_features
from nepal_flows.core.design_rows import map_in_threads
from nepal_flows.core.nep.model import NepModel
from nepal_flows.core.nep.potential import Prediction, predict
from nepal_flows.core.nep.training.reference_energies import reference_energy
from nepal_flows.core.structure import LabelledStructure
from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray

KINDS = ("energy", "forces", "virial")
"""Kinds of rows, each with a noise of its own: eV/atom, eV/Å, eV/atom."""

VOIGT = ((0, 1, 2, 0, 1, 2), (0, 1, 2, 1, 2, 0))
"""Where the six rows of a virial are in a matrix: xx, yy, zz, xy, yz, zx."""

_BATCH_ROWS = 4096


@dataclass(frozen=True, eq=False)
class GramMatrices:
    """What a data set says about the parameters, by kind of row.

    Attributes
    ----------
    products
        :math:`\\Phi^T \\Phi` of every kind, shape (3, n_features, n_features).
    n_rows
        Rows of every kind, shape (3,).
    squared_residuals
        Sum of squared residuals of the model on them, shape (3,): (eV/atom)^2, (eV/Å)^2,
        (eV/atom)^2.
    """

    products: FloatArray
    n_rows: FloatArray
    squared_residuals: FloatArray


def gram_matrices(
    model: NepModel,
    data: Sequence[LabelledStructure],
    reference_energies: Mapping[str, float],
    *,
    layer: Layer = "all",
    n_threads: int = 1,
) -> GramMatrices:
    """Return the Gram matrices and residuals of a model on labelled structures.

    Memory is that of three matrices and of some thousand rows, whatever the size of the data.

    Parameters
    ----------
    model
        The potential.
    data
        Labelled structures, at least one.
    reference_energies
        Symbol to eV per atom: what was taken off before the model was trained.
    layer
        Which parameters.
    n_threads
        Threads over structures; the result does not depend on it.

    Raises
    ------
    TrainingError
        If there is no structure, or an element has no reference energy.
    """
    if not data:
        raise TrainingError("There is no structure to build Gram matrices of; give at least one.")
    columns = n_features(model.architecture, layer)
    products = np.zeros((3, columns, columns))
    n_rows, squares = np.zeros(3), np.zeros(3)

    def parts(frame: LabelledStructure) -> tuple[FrameFeatures, Prediction]:
        return frame_features(model, frame.structure, layer=layer), predict(model, frame.structure)

    for batch in _batches(data):
        found = map_in_threads(parts, batch, n_threads)
        rows: list[list[FloatArray]] = [[], [], []]
        for frame, (features, prediction) in zip(batch, found, strict=True):
            reference = frame.energy - reference_energy(frame.structure, reference_energies)
            rows[0].append(features.energy[None] / frame.n_atoms)
            rows[1].append(features.forces)
            squares[0] += ((prediction.energy - reference) / frame.n_atoms) ** 2
            squares[1] += ((prediction.forces - frame.forces) ** 2).sum()
            if frame.virial is not None:
                rows[2].append(features.virial / frame.n_atoms)
                error = (prediction.virial - frame.virial)[VOIGT] / frame.n_atoms
                squares[2] += (error**2).sum()
        for kind, blocks in enumerate(rows):
            if blocks:
                matrix = np.concatenate(blocks)
                products[kind] += matrix.T @ matrix
                n_rows[kind] += len(matrix)
    return GramMatrices(products, n_rows, squares)


def _batches(data: Sequence[LabelledStructure]) -> Iterator[list[LabelledStructure]]:
    """Yield runs of frames that hold some thousand force rows together."""
    batch: list[LabelledStructure] = []
    for frame in data:
        batch.append(frame)
        if sum(3 * member.n_atoms for member in batch) >= _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


__all__ = ["KINDS", "VOIGT", "GramMatrices", "gram_matrices"]
