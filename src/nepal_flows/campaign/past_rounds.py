"""What the rounds of a campaign took."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """Core- and GPU-seconds.

    Attributes
    ----------
    cpu_s, gpu_s
        Processor time, or that of all cores held, and time that GPUs were held, s.
    """

    cpu_s: float = 0.0
    gpu_s: float = 0.0

    def plus(self, other: "Spent", times: float = 1.0) -> "Spent":
        """Return the sum with a multiple of another."""
        return Spent(self.cpu_s + times * other.cpu_s, self.gpu_s + times * other.gpu_s)


@dataclass(frozen=True)
class PastRound:
    """What an iteration took.

    Attributes
    ----------
    n_labels
        Labels that it asked for.
    label, train, explore, other
        Its cost by stage; ``other`` is all that is short.
    """

    n_labels: int
    label: Spent
    train: Spent
    explore: Spent
    other: Spent


__all__ = ["PastRound", "Spent"]
