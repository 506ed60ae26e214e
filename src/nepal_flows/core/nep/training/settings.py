"""Settings of a training."""

from dataclasses import dataclass, fields

from nepal_flows.errors import InputError


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is fitted: Adam on mini-batches, then, if asked for, L-BFGS on all structures.

    The loss is ``lambda_e RMSE_E + lambda_f RMSE_F + lambda_v RMSE_V + lambda_1 mean|p| +
    lambda_2 sqrt(mean p^2)`` over the parameters p: energy per atom (after its mean offset, which
    goes to b1), force components, virial components per atom. A structure's weight multiplies
    its errors.

    Attributes
    ----------
    n_adam_steps, n_lbfgs_steps
        Mini-batch steps, then iterations on the whole set. The latter cost a pass over all data
        each; the same time buys more as mini-batch steps unless there are only a few structures.
    batch_atoms
        Atoms per mini-batch, approximately: structures are taken until they hold so many.
    batch_structures
        Structures per mini-batch; 0 to go by `batch_atoms`.
    learning_rate
        Largest rate of Adam; it falls to 0 along a cosine.
    warm_learning_rate
        ... of a training that starts from a model.
    warmup_steps
        Steps over which the rate rises to its largest value.
    rotation_interval
        Steps between two turns of the coordinates Adam works in; 0 for plain Adam, which needs
        about ten times the steps.
    averaging_decay
        Decay per step of the exponential average of the parameters, which is what is kept.
    weight_decay
        Decoupled decay of the descriptors' coefficients c per step, in units of the learning
        rate.
    lambda_e, lambda_f, lambda_v, lambda_shear
        Weights in the loss; the last multiplies the errors of off-diagonal virial components.
    lambda_1, lambda_2
        Weights of the regularisation.
    force_delta
        If positive, squared force errors of an atom weigh delta / (delta + |F|), eV/Å.
    type_weights
        Weight of the force errors on the atoms of every element, or empty.
    check_interval
        Steps between two rows of the history; 0 for a hundredth of the steps, or what keeps the
        cost of test frames near a twentieth.
    precision
        ``float32`` or ``float64`` arithmetic in the kernels. Energies, losses, gradients of more
        than some 64 atoms and parameters are float64 in both.
    memory_limit_MB
        Features beyond it are not kept but made anew for every mini-batch.
    """

    n_adam_steps: int = 2000
    n_lbfgs_steps: int = 0
    batch_atoms: int = 128
    batch_structures: int = 0
    learning_rate: float = 3e-2
    warm_learning_rate: float = 1e-2
    warmup_steps: int = 20
    rotation_interval: int = 10
    averaging_decay: float = 0.99
    weight_decay: float = 4e-2
    lambda_e: float = 1.0
    lambda_f: float = 1.0
    lambda_v: float = 0.1
    lambda_shear: float = 1.0
    lambda_1: float = 0.0
    lambda_2: float = 0.0
    force_delta: float = 0.0
    type_weights: tuple[float, ...] = ()
    check_interval: int = 0
    precision: str = "float32"
    memory_limit_MB: float = 4000.0

    def __post_init__(self) -> None:
        for name in _NOT_NEGATIVE:
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise InputError(f"`{name}` is {value}, expected a number that is not negative.")
        if self.n_adam_steps + self.n_lbfgs_steps < 1:
            raise InputError("There is no step to train. Set `n_adam_steps` or `n_lbfgs_steps`.")
        if self.batch_atoms < 1:
            raise InputError(f"`batch_atoms` is {self.batch_atoms}, expected at least 1.")
        if self.averaging_decay >= 1.0:
            raise InputError(f"`averaging_decay` is {self.averaging_decay}, expected less than 1.")
        if self.lambda_e + self.lambda_f + self.lambda_v == 0.0:
            raise InputError("`lambda_e`, `lambda_f` and `lambda_v` are all 0; nothing is fitted.")
        if self.precision not in ("float32", "float64"):
            raise InputError(f"`precision` is `{self.precision}`, expected `float32` or `float64`.")
        if any(weight < 0.0 for weight in self.type_weights):
            raise InputError(f"`type_weights` is {self.type_weights}; no weight may be negative.")
        object.__setattr__(self, "type_weights", tuple(self.type_weights))


_NOT_NEGATIVE = tuple(
    field.name
    for field in fields(TrainingSettings)
    if field.name not in ("type_weights", "precision")
)

__all__ = ["TrainingSettings"]
