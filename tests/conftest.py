"""A campaign small enough to be run many times: copper, EMT, eight atoms, five neurons."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from nepal_flows.engines.kernel_cache import use_kernel_cache
from nepal_flows.engines.worker import ONE_THREAD

os.environ.update(ONE_THREAD)
use_kernel_cache()

SMALL: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "seed": 3,
    "structures": ["Cu.vasp"],
    "model": {
        "cutoff_A": [4.0, 3.5],
        "n_max": [2, 2],
        "basis_size": [4, 4],
        "l_max": [2, 0, 0],
        "neuron": 4,
    },
    "training": {
        "adam_steps": 150,
        "lbfgs_steps": 20,
        "warm_adam_steps": 50,
        "warm_lbfgs_steps": 10,
        "final_adam_steps": 300,
        "final_lbfgs_steps": 40,
    },
    "seeds": {"n": 4, "n_atoms": 8},
    "exploration": {
        "time_step_fs": 2.5,
        "conditions": [
            {
                "name": "ramp",
                "start": {"n_atoms": 8},
                "stages": [{"temperature_K": [300, 900], "steps": 200}],
            },
            {
                "name": "vacancy",
                "start": {"n_atoms": 8, "vacancies": 1},
                "stages": [{"ensemble": "nvt", "temperature_K": 600, "steps": 200}],
            },
        ],
    },
    "selection": {"labels_per_iteration": 3, "audit_per_iteration": 1},
    "labels": {"code": "ase", "calculator": "emt", "time_limit_s": 60},
    "budget": {"labels": 14, "iterations": 3},
    "resources": {"workers": 1},
}


CampaignWriter = Callable[..., Path]


@pytest.fixture(scope="session")
def write_campaign() -> CampaignWriter:
    """Return a function that writes the small campaign into a folder, changed as asked."""

    def write_it(folder: Path, **changes: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "Cu.vasp", bulk("Cu", "fcc", a=3.6, cubic=True), direct=True)
        path = folder / "campaign.yaml"
        path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
        return path

    return write_it
