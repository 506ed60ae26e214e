"""The shipped JSON schema, the reference page, and the descriptions they are made of."""

import json
from pathlib import Path

from pydantic import BaseModel

from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.read import _all_keys
from nepal_flows.campaign.reference import format_reference, sections_of
from nepal_flows.campaign.schema import SCHEMA_FILE, campaign_json_schema, format_schema


def sections(section: type[BaseModel], seen: set) -> set:
    seen.add(section)
    for field in section.model_fields.values():
        for inner in sections_of(field.annotation):
            if inner not in seen:
                sections(inner, seen)
    return seen


def test_shipped_schema_is_current():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == format_schema()


def test_schema_allows_file_names_for_structures():
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert {"type": "string"} in schema["properties"]["structures"]["items"]["anyOf"]


def test_every_key_is_described():
    for section in sections(Campaign, set()):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"


def test_schema_refuses_unknown_keys_everywhere():
    definitions = campaign_json_schema()["$defs"]
    assert all(d["additionalProperties"] is False for d in definitions.values())


def test_keys_are_found_by_section():
    keys = set(_all_keys(Campaign, ""))
    assert ("budget", "labels") in keys
    assert ("exploration.conditions.stages", "steps") in keys


def test_reference_page_is_current():
    page = Path(__file__).parents[3] / "docs" / "reference" / "campaign-file.md"
    assert page.read_text(encoding="utf-8") == format_reference()


def test_reference_page_explains_every_section():
    page = format_reference()
    for section in sections(Campaign, set()):
        for name in section.model_fields:
            assert f"| `{name}` |" in page
