"""Teachers that misbehave, each in its own way."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase.calculators.emt import EMT


class Raises(EMT):
    """Fails on every structure."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("the moon is in the wrong phase")


class Hangs(EMT):
    """Never answers."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(3600.0)


class DependsOnSize(EMT):
    """Answers with an energy per atom that depends on the cell, as coarse k-points do."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["energy"] += 0.1
        self.results["free_energy"] = self.results["energy"]


class Garbage(EMT):
    """Answers with NaN."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["forces"] = np.full_like(self.results["forces"], np.nan)


class FailsOnLoneVacancies(EMT):
    """Fails where an atom is missing, and labels everything else."""

    def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
        if len(atoms) % 8:
            raise ValueError("an atom is missing")
        super().calculate(atoms, *args, **kwargs)


class FailsWhileFlagged(EMT):
    """Fails where an atom is missing, as long as a file is there."""

    def __init__(self, flag: str) -> None:
        super().__init__()
        self.flag = flag

    def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
        if Path(self.flag).exists() and len(atoms) % 8:
            raise ValueError("an atom is missing")
        super().calculate(atoms, *args, **kwargs)


class FailsInManyWays(EMT):
    """Fails on four structures of ten, each in another way; which they are their positions say."""

    def calculate(self, atoms: Any = None, *args: Any, **kwargs: Any) -> None:
        way = int(abs(atoms.positions.sum()) * 1e6) % 10
        if way == 0:
            raise ValueError("the moon is in the wrong phase")
        if way == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if way == 2:
            time.sleep(3600.0)
        super().calculate(atoms, *args, **kwargs)
        if way == 3:
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)
