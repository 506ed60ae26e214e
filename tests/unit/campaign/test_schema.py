"""The shipped JSON schema, and the descriptions it is made of."""

import json

from pydantic import BaseModel

from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.read import _all_keys, _sections_in
from nepal_flows.campaign.schema import SCHEMA_FILE, campaign_json_schema, format_schema


def sections(section: type[BaseModel], seen: set) -> set:
    seen.add(section)
    for field in section.model_fields.values():
        for inner in _sections_in(field.annotation):
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
