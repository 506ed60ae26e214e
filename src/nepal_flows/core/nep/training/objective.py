"""The loss over structures, and its exact gradient, on one or several threads."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture
from nepal_flows.core.nep.training.adjoint import add_gradients
from nepal_flows.core.nep.training.feature_store import FeatureStore, Piece
from nepal_flows.core.nep.training.layout import (
    Gradient,
    empty_gradient,
    empty_network,
    fill_network,
    sizes_of,
    tables_of,
)
from nepal_flows.core.nep.training.loss import loss_slopes
from nepal_flows.core.nep.training.prediction import predict_structures
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.core.nep.training.targets import Targets
from nepal_flows.core.nep.training.workspace import Scratch, empty_saved, empty_scratch
from nepal_flows.typing import AnyArray, FloatArray, IntArray


@dataclass(frozen=True)
class LossTerms:
    """The loss of one parameter vector over some structures, without regularisation.

    Attributes
    ----------
    energy, force, virial
        Weighted root-mean-square errors: eV/atom (after the offset), eV/Å, eV/atom.
    offset
        Weighted mean error of the energy per atom, eV: what b1 lacks.
    total
        Their weighted sum.
    """

    energy: float
    force: float
    virial: float
    offset: float
    total: float


class _Plan(NamedTuple):
    """Where the structures of one piece lie in its arrays, and which thread does which."""

    atom_place: IntArray
    block_place: IntArray
    n_atoms: int
    n_blocks: int
    bounds: IntArray


class _Thread(NamedTuple):
    """What one thread works with."""

    scratch: Scratch
    gradient: Gradient
    total: FloatArray


class Objective:
    """The loss of a fixed set of structures as a function of the parameters.

    Parameters
    ----------
    store
        Features of the structures.
    targets
        Their references, in the same order.
    architecture
        Of the model.
    q_scaler
        Descriptor scale, shape (D,).
    settings
        Weights and precision.
    n_threads
        Threads over structures. Sums are taken in a fixed order: results are reproducible bit by
        bit for a given number of threads.
    """

    def __init__(
        self,
        store: FeatureStore,
        targets: Targets,
        architecture: NepArchitecture,
        q_scaler: FloatArray,
        settings: TrainingSettings,
        *,
        n_threads: int = 1,
    ) -> None:
        self.n_atoms = store.n_atoms
        self._all = np.arange(len(store.n_atoms))
        self._store = store
        self._targets = targets
        self._q_scaler = np.ascontiguousarray(q_scaler, dtype=np.float64)
        self._dtype = np.dtype(settings.precision).type
        self._lambdas = np.array(
            [settings.lambda_e, settings.lambda_f, settings.lambda_v, settings.lambda_shear]
        )
        self._sizes = sizes_of(architecture)
        self._tables = tables_of(self._sizes, self._dtype)
        self._network = empty_network(self._sizes, self._dtype)
        self._n_parameters = architecture.n_parameters
        self._n_threads = max(1, n_threads)
        self._threads: list[_Thread] = []
        self._most_blocks = -1
        self._saved = empty_saved(self._sizes, 0, 0, self._dtype)
        self._room = (0, 0)
        self._executor = ThreadPoolExecutor(self._n_threads - 1) if self._n_threads > 1 else None

    @property
    def max_neighbours(self) -> tuple[int, int]:
        """Largest radial and angular neighbour counts seen."""
        return self._store.max_neighbours

    def close(self) -> None:
        """End the threads."""
        if self._executor is not None:
            self._executor.shutdown()

    def evaluate(self, parameters: FloatArray, selected: IntArray | None = None) -> LossTerms:
        """Return the loss over some structures.

        Parameters
        ----------
        parameters
            In the order of nep.txt, shape (P,).
        selected
            Indices of structures; all when None.
        """
        return self._evaluate(parameters, selected, None)

    def gradient(
        self, parameters: FloatArray, selected: IntArray | None = None
    ) -> tuple[LossTerms, FloatArray]:
        """Return the loss over some structures and its gradient, shape (P,).

        The loss is at its minimum with respect to b1, whose component is therefore 0.
        """
        total = np.zeros(self._n_parameters)
        terms = self._evaluate(parameters, selected, total)
        return terms, total

    def _evaluate(
        self, parameters: FloatArray, selected: IntArray | None, total: FloatArray | None
    ) -> LossTerms:
        selected = self._all if selected is None else selected
        counts = self._store.n_atoms[selected]
        place = np.concatenate([[0], np.cumsum(counts)])
        fill_network(parameters, self._q_scaler, self._sizes, self._network)
        energies = np.empty(len(selected))
        forces = np.empty(3 * int(place[-1]), dtype=self._dtype)
        virials = np.empty(6 * len(selected), dtype=self._dtype)
        n_pieces = 0
        for piece in self._store.pieces(selected):
            plan = self._plan(piece, place)
            self._predict(piece, plan, *_parts(piece, place, energies, forces, virials))
            n_pieces += 1
        slopes = np.empty(len(selected))
        energy, force, virial, offset = loss_slopes(
            selected, place, self._targets, self._lambdas, energies, forces, virials, slopes
        )
        if total is not None:
            if n_pieces == 1:
                self._add_gradients(piece, plan, slopes, forces, virials, total)
            else:
                self._add_by_pieces(selected, place, slopes, forces, virials, total)
            b1 = self._sizes.n_types * self._sizes.n_neurons * (self._sizes.n_descriptors + 2)
            total[b1] = 0.0
        weighted = float(self._lambdas[:3] @ np.array([energy, force, virial]))
        return LossTerms(energy, force, virial, offset, weighted)

    def _add_by_pieces(
        self,
        selected: IntArray,
        place: IntArray,
        slopes: FloatArray,
        forces: AnyArray,
        virials: AnyArray,
        total: FloatArray,
    ) -> None:
        """Predict every piece once more, then add its gradient."""
        for piece in self._store.pieces(selected):
            plan = self._plan(piece, place)
            own = _parts(piece, place, slopes, forces, virials)
            self._predict(piece, plan, *(np.empty_like(part) for part in own))
            self._add_gradients(piece, plan, *own, total)

    def _plan(self, piece: Piece, place: IntArray) -> _Plan:
        """Lay out a piece, and make room for it."""
        features = piece.features
        first = features.atom_start[piece.rows]
        last = features.atom_start[piece.rows + 1]
        blocks = (
            features.angular_start[features.slot_start[last]]
            - features.angular_start[features.slot_start[first]]
        )
        block_place = np.concatenate([[0], np.cumsum(blocks)])
        atom_place = place[piece.start : piece.stop] - place[piece.start]
        n_atoms = int(place[piece.stop] - place[piece.start])
        fractions = np.arange(self._n_threads + 1) / self._n_threads
        bounds = np.searchsorted(atom_place, fractions * n_atoms)
        plan = _Plan(atom_place, block_place, n_atoms, int(block_place[-1]), bounds)
        if plan.n_atoms > self._room[0] or plan.n_blocks > self._room[1]:
            self._room = (
                max(self._room[0], plan.n_atoms + plan.n_atoms // 8),
                max(self._room[1], plan.n_blocks + plan.n_blocks // 8),
            )
            self._saved = empty_saved(self._sizes, *self._room, self._dtype)
        if features.most_angular_blocks > self._most_blocks:
            self._most_blocks = features.most_angular_blocks
            self._threads = [
                _Thread(
                    empty_scratch(self._sizes, self._most_blocks, self._dtype),
                    empty_gradient(self._sizes, self._dtype),
                    np.zeros(self._n_parameters),
                )
                for _ in range(self._n_threads)
            ]
        return plan

    def _predict(
        self, piece: Piece, plan: _Plan, energies: FloatArray, forces: AnyArray, virials: AnyArray
    ) -> None:
        """Fill in energies, forces and virials of a piece."""

        def work(thread: int) -> None:
            predict_structures(
                piece.features,
                self._sizes,
                self._tables,
                self._network,
                self._saved,
                self._threads[thread].scratch,
                piece.rows,
                plan.bounds[thread],
                plan.bounds[thread + 1],
                plan.atom_place,
                plan.block_place,
                energies,
                forces,
                virials,
            )

        self._run(work)

    def _add_gradients(
        self,
        piece: Piece,
        plan: _Plan,
        energy_slopes: FloatArray,
        force_slopes: AnyArray,
        virial_slopes: AnyArray,
        total: FloatArray,
    ) -> None:
        """Add the gradient of a piece, which must have been predicted last."""

        def work(thread: int) -> None:
            own = self._threads[thread]
            own.total[:] = 0.0
            add_gradients(
                piece.features,
                self._sizes,
                self._tables,
                self._network,
                self._saved,
                own.scratch,
                piece.rows,
                plan.bounds[thread],
                plan.bounds[thread + 1],
                plan.atom_place,
                plan.block_place,
                energy_slopes,
                force_slopes,
                virial_slopes,
                self._q_scaler,
                own.gradient,
                own.total,
            )

        self._run(work)
        for thread in self._threads:
            total += thread.total

    def _run(self, work: Callable[[int], Any]) -> None:
        """Run the work of every thread, the first in this one."""
        if self._executor is None:
            work(0)
            return
        others = [self._executor.submit(work, thread) for thread in range(1, self._n_threads)]
        try:
            work(0)
        finally:
            for other in others:
                other.result()


def _parts(
    piece: Piece, place: IntArray, energies: FloatArray, forces: AnyArray, virials: AnyArray
) -> tuple[FloatArray, AnyArray, AnyArray]:
    """Return the parts of whole-selection arrays that belong to a piece."""
    return (
        energies[piece.start : piece.stop],
        forces[3 * place[piece.start] : 3 * place[piece.stop]],
        virials[6 * piece.start : 6 * piece.stop],
    )


__all__ = ["LossTerms", "Objective"]
