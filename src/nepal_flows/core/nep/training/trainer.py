"""Fit a NEP to labelled structures."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nepal_flows.core.nep.model import NepArchitecture, NepModel, model_from_parameters
from nepal_flows.core.nep.potential import predict_many
from nepal_flows.core.nep.training.evaluation import ModelErrors, model_errors
from nepal_flows.core.nep.training.feature_store import FeatureStore
from nepal_flows.core.nep.training.initial import random_model, saturated_share, warm_model
from nepal_flows.core.nep.training.lbfgs import minimise_lbfgs
from nepal_flows.core.nep.training.objective import LossTerms, Objective
from nepal_flows.core.nep.training.optimisers import (
    RotatedAdam,
    cosine_rate,
    mini_batches,
)
from nepal_flows.core.nep.training.reference_energies import fit_reference_energies
from nepal_flows.core.nep.training.settings import TrainingSettings
from nepal_flows.core.nep.training.targets import Prior, build_targets
from nepal_flows.core.structure import LabelledStructure, Structure
from nepal_flows.errors import TrainingError
from nepal_flows.typing import FloatArray

HISTORY_COLUMNS = (
    "step",
    "total",
    "L1",
    "L2",
    "energy_train",
    "force_train",
    "virial_train",
    "energy_test",
    "force_test",
    "virial_test",
)
"""Columns of a history, those of loss.out: eV/atom, eV/Å, eV/atom; 0 without test frames."""

Progress = Callable[[int, int, Mapping[str, float]], None]
"""Called with the step, the number of steps, and the latest history row by column."""

_CHECK_COST = 0.05  # of test frames, as a share of the training
_ATTEMPTS = 4
_MOST_SATURATED = 0.5  # of the atoms
_SATURATED = (
    "All neurons are saturated after the training, {n} times: the model predicts no forces. It has "
    "{neurons} neurons; give it more, or more and more different structures, or lower "
    "`learning_rate`."
)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A fitted model and how it came about.

    Attributes
    ----------
    model
        Predicts energies without the reference energies.
    reference_energies
        Symbol to eV per atom: add them to the model's energies.
    history
        One row per check, columns as in :data:`HISTORY_COLUMNS`. While Adam runs, training errors
        are means over the mini-batches since the last row; test errors are those of the averaged
        parameters.
    training_errors, test_errors
        Unweighted errors of the model; the latter None without test frames.
    n_steps
        Steps taken, of both optimisers.
    settings, seed
        As given.
    """

    model: NepModel
    reference_energies: dict[str, float]
    history: FloatArray
    training_errors: ModelErrors
    test_errors: ModelErrors | None
    n_steps: int
    settings: TrainingSettings
    seed: int

    @property
    def q_scaler(self) -> FloatArray:
        """Descriptor scale of the model, shape (D,)."""
        return self.model.q_scaler


def train_model(
    data: Sequence[LabelledStructure],
    architecture: NepArchitecture,
    settings: TrainingSettings | None = None,
    *,
    test: Sequence[LabelledStructure] = (),
    initial: NepModel | None = None,
    reference_energies: Mapping[str, float] | None = None,
    seed: int = 0,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> TrainingResult:
    """Return a model fitted to labelled structures.

    The first steps may drive a small network, fitted to few structures, to where all its neurons
    are saturated and no slope leads back. It is then fitted again, from the same start, at half the
    rate, which it reaches in five times as many steps.

    Parameters
    ----------
    data
        Training structures, at least one.
    architecture
        Of the model; must name every element of the data.
    settings
        How to fit; defaults when None.
    test
        Structures whose errors are followed along the way. They change nothing.
    initial
        Model to start from; its ``q_scaler`` is kept.
    reference_energies
        Symbol to eV per atom, taken off before fitting; fitted to the data when None.
    seed
        Same seed, data, settings and number of threads: the same model, bit by bit.
    n_threads
        Threads over structures.
    progress
        Called at every check.

    Raises
    ------
    TrainingError
        If there is no data, the initial model does not match, the loss is not finite, or the
        neurons saturate for all atoms, again and again.
    ModelError
        If the data hold an element the architecture does not name.
    """
    if not data:
        raise TrainingError("There is no structure to train on. Give at least one.")
    settings = settings or TrainingSettings()
    if reference_energies is None:
        reference_energies = fit_reference_energies(data, architecture.elements)
    rng = np.random.default_rng(seed)
    start = (
        random_model(architecture, [frame.structure for frame in data], rng)
        if initial is None
        else warm_model(architecture, initial)
    )
    training = _objective(data, start, reference_energies, settings, n_threads)
    testing = _objective(test, start, reference_energies, settings, n_threads) if test else None
    try:
        largest_rate = settings.learning_rate if initial is None else settings.warm_learning_rate
        structures = [frame.structure for frame in data]
        for attempt in range(_ATTEMPTS):
            run = _Run(training, testing, start, _gentler(settings, attempt), progress)
            run.adam(largest_rate / 2**attempt, rng)
            run.lbfgs()
            model = run.model()
            share = saturated_share(model, structures)
            if share < _MOST_SATURATED:
                break
        if share == 1.0:
            raise TrainingError(_SATURATED.format(n=_ATTEMPTS, neurons=architecture.n_neurons))
    finally:
        training.close()
        if testing is not None:
            testing.close()
    references = dict(reference_energies)
    return TrainingResult(
        model=model,
        reference_energies=references,
        history=np.array(run.rows).reshape(-1, len(HISTORY_COLUMNS)),
        training_errors=model_errors(model, data, references, n_threads=n_threads),
        test_errors=(model_errors(model, test, references, n_threads=n_threads) if test else None),
        n_steps=run.step,
        settings=settings,
        seed=seed,
    )


class _Run:
    """One training: its parameters and its history."""

    def __init__(
        self,
        training: Objective,
        testing: Objective | None,
        start: NepModel,
        settings: TrainingSettings,
        progress: Progress | None,
    ) -> None:
        self._training = training
        self._testing = testing
        self._start = start
        self._settings = settings
        self._progress = progress
        self._parameters = start.parameters()
        self.step = 0
        self.rows: list[list[float]] = []

    def adam(self, largest_rate: float, rng: np.random.Generator) -> None:
        """Take the mini-batch steps, and keep the averaged parameters."""
        settings = self._settings
        if settings.n_adam_steps == 0:
            return
        optimiser = RotatedAdam(self._parameters, self._start.architecture, settings)
        batches = mini_batches(self._training.n_atoms, settings, rng)
        interval = self._interval(min(settings.batch_atoms, int(self._training.n_atoms.sum())))
        seen: list[LossTerms] = []
        for step in range(settings.n_adam_steps):
            terms, gradient = self._training.gradient(optimiser.parameters, next(batches))
            self._refuse_divergence(terms)
            self._add_regularisation(optimiser.parameters, gradient)
            optimiser.step(gradient, cosine_rate(step, settings, largest_rate))
            seen.append(terms)
            self.step += 1
            if self.step % interval == 0 or self.step == settings.n_adam_steps:
                self._record(optimiser.average, seen)
                seen = []
        self._parameters = optimiser.average

    def lbfgs(self) -> None:
        """Take the whole-set iterations from there."""
        settings = self._settings
        if settings.n_lbfgs_steps == 0:
            return
        interval = self._interval(int(self._training.n_atoms.sum()))
        seen: list[LossTerms] = []
        last = self.step + settings.n_lbfgs_steps

        def function(parameters: FloatArray) -> tuple[float, FloatArray]:
            terms, gradient = self._training.gradient(parameters)
            regularisation = sum(self._add_regularisation(parameters, gradient))
            seen[:] = [terms]
            return terms.total + regularisation, gradient

        def callback(parameters: FloatArray) -> None:
            self.step += 1
            if self.step % interval == 0 or self.step == last:
                self._record(parameters, seen)

        before = self.step
        self._parameters = minimise_lbfgs(
            function, self._parameters, n_steps=settings.n_lbfgs_steps, callback=callback
        )
        if self.step > before and (not self.rows or self.rows[-1][0] != self.step):
            self._record(self._parameters, seen)

    def model(self) -> NepModel:
        """Return the model, its bias b1 fitted to the training set."""
        terms = self._training.evaluate(self._parameters)
        self._refuse_divergence(terms)
        a = self._start.architecture
        parameters = self._parameters.copy()
        parameters[a.n_types * a.n_projection] += terms.offset
        return model_from_parameters(
            a,
            parameters,
            self._start.q_scaler,
            max_neighbours=self._training.max_neighbours,
        )

    def _interval(self, n_atoms_per_step: int) -> int:
        """Return the number of steps between two checks."""
        settings = self._settings
        if settings.check_interval:
            return settings.check_interval
        n_steps = settings.n_adam_steps + settings.n_lbfgs_steps
        dear = 0.0
        if self._testing is not None:
            dear = 0.5 * self._testing.n_atoms.sum() / (_CHECK_COST * n_atoms_per_step)
        return max(1, min(max(math.ceil(dear), n_steps // 100), 1 + n_steps // 10))

    def _record(self, parameters: FloatArray, seen: Sequence[LossTerms]) -> None:
        """Add a row to the history, and tell of it."""
        energy, force, virial = (
            math.sqrt(np.mean([getattr(terms, name) ** 2 for terms in seen]))
            for name in ("energy", "force", "virial")
        )
        l1, l2 = self._add_regularisation(parameters, np.zeros_like(parameters))
        s = self._settings
        total = s.lambda_e * energy + s.lambda_f * force + s.lambda_v * virial + l1 + l2
        row = [self.step, total, l1, l2, energy, force, virial, 0.0, 0.0, 0.0]
        if self._testing is not None:
            terms = self._testing.evaluate(parameters)
            row[7:] = [terms.energy, terms.force, terms.virial]
        self.rows.append(row)
        if self._progress is not None:
            n_steps = s.n_adam_steps + s.n_lbfgs_steps
            self._progress(self.step, n_steps, dict(zip(HISTORY_COLUMNS, row, strict=True)))

    def _add_regularisation(
        self, parameters: FloatArray, gradient: FloatArray
    ) -> tuple[float, float]:
        """Add the slopes of the two regularisation terms; return the terms."""
        s, n = self._settings, len(parameters)
        l1 = l2 = 0.0
        if s.lambda_1:
            l1 = s.lambda_1 * float(np.abs(parameters).sum()) / n
            gradient += s.lambda_1 / n * np.sign(parameters)
        if s.lambda_2:
            size = float(np.sqrt(np.mean(parameters**2)))
            l2 = s.lambda_2 * size
            gradient += s.lambda_2 / (n * max(size, 1e-300)) * parameters
        return l1, l2

    def _refuse_divergence(self, terms: LossTerms) -> None:
        if not math.isfinite(terms.total):
            raise TrainingError(
                f"The loss is {terms.total} at step {self.step}: the training diverged. Lower "
                f"`learning_rate` (it is {self._settings.learning_rate}), or look for structures "
                "with extreme labels or atoms that nearly coincide."
            )


def _gentler(settings: TrainingSettings, attempt: int) -> TrainingSettings:
    """Return the settings of an attempt after others, which takes longer to its full rate."""
    most = settings.n_adam_steps // 2
    longer = max(settings.warmup_steps, min(settings.warmup_steps * 5**attempt, most))
    return replace(settings, warmup_steps=longer)


def _objective(
    data: Sequence[LabelledStructure],
    model: NepModel,
    reference_energies: Mapping[str, float],
    settings: TrainingSettings,
    n_threads: int,
) -> Objective:
    """Return the loss over some structures."""
    a = model.architecture
    structures = [frame.structure for frame in data]
    store = FeatureStore(
        structures,
        a,
        dtype=np.dtype(settings.precision).type,
        memory_limit_MB=settings.memory_limit_MB,
    )
    targets = build_targets(
        data,
        a,
        settings,
        reference_energies=reference_energies,
        priors=_priors(structures, model) if a.zbl is not None else None,
    )
    return Objective(store, targets, a, model.q_scaler, settings, n_threads=n_threads)


def _priors(structures: Sequence[Structure], model: NepModel) -> list[Prior]:
    """Return what the repulsion alone says: the model with a silent network."""
    silent = model_from_parameters(
        model.architecture, np.zeros(model.architecture.n_parameters), model.q_scaler
    )
    return [Prior(p.energy, p.forces, p.virial) for p in predict_many(silent, structures)]


__all__ = ["HISTORY_COLUMNS", "Progress", "TrainingResult", "train_model"]
