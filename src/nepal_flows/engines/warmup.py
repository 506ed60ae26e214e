"""Compile every kernel once, so that no later step waits for it, nor several processes at once."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nepal_flows.core.active_set import Variant, build_active_set
from nepal_flows.core.bayes.features import frame_features
from nepal_flows.core.design_rows import DesignRows
from nepal_flows.core.graded_rows import row_grades
from nepal_flows.core.nep.descriptors import descriptors
from nepal_flows.core.nep.model import NepArchitecture, NepModel, Zbl, model_from_parameters
from nepal_flows.core.nep.potential import predict
from nepal_flows.core.nep.projections import projection_factors, projection_gradient
from nepal_flows.core.nep.training import TrainingSettings, train_model
from nepal_flows.core.selection import select_frames
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.engines.kernel_cache import numerics_digest
from nepal_flows.engines.md_run import MdSegment
from nepal_flows.engines.native_md import run_native_md
from nepal_flows.typing import FloatArray

Progress = Callable[[int, int], None]

_SHORT = TrainingSettings(n_adam_steps=2, n_lbfgs_steps=2)


def compile_kernels_once(*, progress: Progress | None = None) -> None:
    """Compile all kernels by using each on a few atoms, unless that has been done.

    Parameters
    ----------
    progress
        Called before every part and at the end, with the finished and all parts.
    """
    folder = os.environ.get("NUMBA_CACHE_DIR")  # without it each module has its own
    marker = Path(folder) / f"compiled-{numerics_digest()[:16]}" if folder else None
    if marker is not None and marker.exists():
        return
    parts = _parts()
    for number, part in enumerate(parts):
        if progress is not None:
            progress(number, len(parts))
        part()
    if marker is not None:
        marker.touch()
    if progress is not None:
        progress(len(parts), len(parts))


def _parts() -> tuple[Callable[[], object], ...]:
    """Return functions that together use every kernel."""
    frames = _frames()
    model = _model()
    structures = [frame.structure for frame in frames]

    def prediction() -> None:
        predict(model, structures[0])
        descriptors(model, structures[0])
        frame_features(model, structures[0])

    def gradient() -> None:
        n_projection = model.architecture.n_projection
        weights = np.ones((structures[0].n_atoms, n_projection))
        projection_gradient(model, structures[0], weights)

    def grading() -> None:
        factors = [projection_factors(model, structure) for structure in structures]
        variants: tuple[Variant, ...] = ("subspace", "full")
        for variant in variants:
            active_set = build_active_set(factors[:3], model.elements, variant=variant)
            select_frames(
                active_set, factors[:3], factors[3:], budget=1, threshold=1e-3, ceiling=None
            )

        rows = DesignRows(factors, 0)
        row_grades(rows, np.eye(rows.n_columns), in_float32=True)

    def dynamics() -> None:
        factors = [projection_factors(model, structure) for structure in structures]
        active_set = build_active_set(factors, model.elements)
        for ensemble in ("nve", "nvt", "npt"):
            segment = MdSegment(ensemble=ensemble, temperature_K=10.0, n_steps=10)
            run_native_md(structures[0], model, [segment], active_set=active_set, seed=0)

    def training() -> None:
        train_model(frames, model.architecture, _SHORT, test=frames[:1])

    return prediction, gradient, grading, dynamics, training


def _frames() -> list[LabelledStructure]:
    rng = np.random.default_rng(0)
    cell = np.eye(3) * 3.61
    sites = cell[0, 0] * np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frames = []
    for _ in range(4):
        positions: FloatArray = sites + rng.normal(0.0, 0.1, sites.shape)
        structure = Structure(np.array([29, 79, 29, 79]), positions, cell)
        forces = rng.normal(0.0, 0.1, sites.shape)
        frames.append(LabelledStructure(structure, -1.0, forces - forces.mean(0), np.eye(3)))
    return frames


def _model() -> NepModel:
    architecture = NepArchitecture(
        elements=("Cu", "Au"),
        radial_cutoffs=(4.0,),
        angular_cutoffs=(3.0,),
        n_max_radial=1,
        n_max_angular=1,
        basis_size_radial=2,
        basis_size_angular=2,
        l_max=2,
        has_q_222=True,
        has_q_1111=True,
        n_neurons=2,
        zbl=Zbl(0.5, 1.0),
    )
    parameters = np.random.default_rng(1).normal(0.0, 0.1, architecture.n_parameters)
    return model_from_parameters(architecture, parameters, np.ones(architecture.n_descriptors))


__all__ = ["compile_kernels_once"]
