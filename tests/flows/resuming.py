"""Run the small campaign in a process of its own, and tell what it stored."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from nepal_flows.records import Records, embedded_job_store
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

DRIVER = Path(__file__).with_name("driver.py")
KINDS: tuple[type[Document], ...] = (
    LabelDoc,
    TrainingDoc,
    ActiveSetDoc,
    ExplorationDoc,
    SelectionDoc,
    IterationDoc,
    CampaignDoc,
)
PASSING = {"created_at", "cost", "costs", "label_costs", "core_hours_total", "attempts", "machine"}
"""Fields that tell when and how fast, not what."""


def run(campaign: Path, *arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess:
    command = [sys.executable, "-W", "ignore", str(DRIVER), str(campaign), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def contents(campaign: Path) -> dict[str, dict[str, Any]]:
    """Return every document of a campaign by kind and key, without what may differ."""
    records = Records(embedded_job_store(campaign.parent / "small" / "store"))
    return {
        f"{kind.kind} {document.key}": document.model_dump(mode="json", exclude=PASSING)
        for kind in KINDS
        for document in records.query(kind)
    }
