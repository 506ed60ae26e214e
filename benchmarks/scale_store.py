"""A campaign of 10 000 labels in the embedded store: how long `nepal status` takes.

A small campaign with ASE's EMT is run; its rounds, with all their documents, are then put on record
again and again under new keys, until there are as many labels as asked for.

usage: python benchmarks/scale_store.py [--labels 10000]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from ase.build import bulk
from ase.io import write

from nepal_flows.flows import run_campaign
from nepal_flows.records import Records, label_key
from nepal_flows.schemas import (
    ActiveSetDoc,
    CampaignDoc,
    Document,
    ExplorationDoc,
    IterationDoc,
    LabelDoc,
    SelectionDoc,
    TrainingDoc,
)

TARGET_S = 1.0
KINDS = (LabelDoc, SelectionDoc, TrainingDoc, ActiveSetDoc, ExplorationDoc, IterationDoc)
CAMPAIGN: dict[str, Any] = {
    "name": "many-labels",
    "structures": ["Cu.vasp"],
    "model": {"cutoff_A": [4.0, 3.5], "n_max": [2, 2], "basis_size": [4, 4], "neuron": 4},
    "training": {"adam_steps": 100, "warm_adam_steps": 50, "final_adam_steps": 100},
    "seeds": {"n": 50, "n_atoms": 4},
    "exploration": {
        "conditions": [{"name": "ramp", "stages": [{"temperature_K": [300, 900], "steps": 200}]}]
    },
    "selection": {"labels_per_iteration": 10, "audit_per_iteration": 2},
    "budget": {"labels": 100, "iterations": 3},
}


def multiplied(records: Records, n_labels: int) -> None:
    """Put every round on record again under new keys until there are so many labels."""
    originals = {kind: list(records.query(kind)) for kind in KINDS}
    n_rounds = len(originals[IterationDoc])
    (campaign,) = records.query(CampaignDoc)
    copies = -(-n_labels // len(originals[LabelDoc])) - 1
    for copy in range(1, copies + 1):
        for documents in originals.values():
            for document in documents:
                records.put(_renamed(document, copy, n_rounds))
    records.replace(campaign.model_copy(update={"n_iterations": n_rounds * (copies + 1)}))


def _renamed(document: Document, copy: int, n_rounds: int) -> Document:
    """Return a document with all keys in it renamed, some rounds later."""

    def renamed(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: renamed(entry, key) for key, entry in value.items()}
        if isinstance(value, list):
            return [renamed(entry, name) for entry in value]
        is_key = name == "structure_key" or name.endswith(("key", "keys"))
        return f"{value}/{copy}" if is_key and isinstance(value, str) else value

    content = renamed(document.model_dump(mode="json"))
    if isinstance(document, LabelDoc):
        content["settings_key"] = document.settings_key
        content["key"] = label_key(content["structure_key"], document.settings_key)
    if document.iteration is not None:
        content["iteration"] = document.iteration + copy * n_rounds
    return type(document).model_validate(content)


def main() -> None:
    """Make the campaign, and time the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=10_000)
    n_labels = parser.parse_args().labels
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "Cu.vasp", bulk("Cu", "fcc", a=3.6, cubic=True), direct=True)
        path = Path(folder) / "campaign.yaml"
        path.write_text(yaml.safe_dump(CAMPAIGN))
        run = run_campaign(path)
        multiplied(run.records, n_labels)
        n_stored = run.records.count(LabelDoc)
        command = [sys.executable, "-m", "nepal_flows", "status", str(path)]
        times = []
        for _ in range(3):
            began = time.perf_counter()
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            times.append(time.perf_counter() - began)
        size = sum(f.stat().st_size for f in run.directory.rglob("*.sqlite*"))
    print(answer)
    print(f"{n_stored} labels, {size / 1e6:.0f} MB: `nepal status` {min(times):.2f} s", end=" ")
    print(f"(target {TARGET_S:g} s)")


if __name__ == "__main__":
    main()
