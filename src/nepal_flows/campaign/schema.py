"""The JSON schema of campaign files, for editors; ``python -m nepal_flows.campaign.schema``."""

import json
from pathlib import Path
from typing import Any

from nepal_flows.campaign.model import Campaign

SCHEMA_FILE = Path(__file__).with_name("campaign.schema.json")
"""The schema as shipped."""


def campaign_json_schema() -> dict[str, Any]:
    """Return the JSON schema of campaign files, with what the file may abbreviate."""
    schema = Campaign.model_json_schema()
    files = schema["properties"]["structures"]
    files["items"] = {"anyOf": [{"type": "string"}, files["items"]]}
    for name in ("AseLabels", "EspressoLabels", "Cp2kLabels", "VaspLabels"):
        schema["$defs"][name]["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Campaign file of nepal_flows",
    }


def format_schema() -> str:
    """Return the text of the shipped schema file."""
    return json.dumps(campaign_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(format_schema(), encoding="utf-8")

__all__ = ["SCHEMA_FILE", "campaign_json_schema", "format_schema"]
