"""Read a campaign file and its structures; every problem is reported at once, with its line."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from nepal_flows.campaign.checks import campaign_problems
from nepal_flows.campaign.file import Location, dotted, parsed_file
from nepal_flows.campaign.foundation import foundation_problem
from nepal_flows.campaign.labels import DftLabels
from nepal_flows.campaign.model import Campaign
from nepal_flows.campaign.reference import sections_of
from nepal_flows.campaign.stages import with_small_cells
from nepal_flows.core.elements import symbols_of
from nepal_flows.core.structure import Structure
from nepal_flows.errors import CampaignError, InputError
from nepal_flows.io.structures import moments_by_element, read_structures


@dataclass(frozen=True, eq=False)
class LoadedCampaign:
    """A campaign file with what it refers to.

    Attributes
    ----------
    path
        The campaign file.
    campaign
        Its content, complete with defaults; ``model.elements`` is never "auto".
    structures
        The starting structures, in order.
    """

    path: Path
    campaign: Campaign
    structures: tuple[Structure, ...]

    @property
    def directory(self) -> Path:
        """The campaign's folder: beside its file, named after it."""
        return self.path.absolute().parent / self.campaign.name


def read_campaign(path: str | Path) -> Campaign:
    """Return the campaign that a file asks for, complete with defaults and elements.

    Raises
    ------
    CampaignError
        If the file or anything it refers to is wrong; all problems are listed.
    """
    return load_campaign(path).campaign


def load_campaign(path: str | Path) -> LoadedCampaign:
    """Return the campaign that a file asks for, and its starting structures.

    Raises
    ------
    CampaignError
        If the file or anything it refers to is wrong; all problems are listed.
    """
    path = Path(path)
    raw, lines = parsed_file(path)
    problems: list[tuple[Location, str]] = []
    campaign: Campaign | None = None
    try:
        campaign = Campaign.model_validate(raw)
    except ValidationError as error:
        problems += _model_problems(error)
    files = (
        _structure_files(raw)
        if campaign is None
        else [(item.file, item.frame) for item in campaign.structures]
    )
    structures, file_problems = _read_all(files, path.parent)
    problems += file_problems
    if campaign is not None and not file_problems:
        campaign = with_small_cells(with_elements(campaign, structures), structures)
        problems += campaign_problems(campaign, structures)
        problems += _moment_problems(campaign, path.parent)
        problem = foundation_problem(campaign, path.parent)
        if problem is not None:
            problems.append((("training", "nep", "fine_tune"), problem))
    if problems or campaign is None:
        raise CampaignError(_report(path, problems, lines))
    return LoadedCampaign(path, campaign, tuple(structures))


def with_elements(campaign: Campaign, structures: Sequence[Structure]) -> Campaign:
    """Return the campaign with ``model.elements`` filled in, by first appearance, mixes last."""
    if campaign.model.elements != "auto":
        return campaign
    found = [symbol for structure in structures for symbol in symbols_of(structure.numbers)]
    starts = [condition.start.mix for condition in campaign.exploration.conditions]
    validation = None if campaign.validation is None else campaign.validation.mix
    for mix in (campaign.seeds.mix, *starts, validation):
        found += [] if mix is None else list(mix.elements)
    model = campaign.model.model_copy(update={"elements": tuple(dict.fromkeys(found))})
    return campaign.model_copy(update={"model": model})


def _structure_files(raw: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Return the files named in a campaign that could not be read as a whole."""
    listed = raw.get("structures", [])
    items = listed if isinstance(listed, list) else [listed]
    files = []
    for item in items:
        entry = item if isinstance(item, dict) else {"file": item}
        if isinstance(entry.get("file"), str):
            frame = entry.get("frame", 0)
            files.append((entry["file"], frame if isinstance(frame, int) else 0))
    return files


def _read_all(
    files: Sequence[tuple[str, int]], folder: Path
) -> tuple[list[Structure], list[tuple[Location, str]]]:
    structures: list[Structure] = []
    problems: list[tuple[Location, str]] = []
    for index, (file, frame) in enumerate(files):
        try:
            frames = read_structures(folder / file)
        except InputError as error:
            problems.append((("structures", index), str(error)))
            continue
        if not -len(frames) <= frame < len(frames):
            text = f"`{file}` has {len(frames)} frames, but `frame` is {frame}"
            problems.append((("structures", index), text))
            continue
        structures.append(frames[frame])
    return structures, problems


def _moment_problems(campaign: Campaign, folder: Path) -> list[tuple[Location, str]]:
    """Return the structures whose own moments labels would not begin with."""
    if not isinstance(campaign.labels, DftLabels):
        return []
    problems: list[tuple[Location, str]] = []
    given = campaign.labels.magnetic_moments_uB or {}
    for index, item in enumerate(campaign.structures):
        found = moments_by_element(folder / item.file, item.frame)
        text = ", ".join(f"{s} {' and '.join(f'{v:g}' for v in vs)}" for s, vs in found.items())
        if any(len(values) > 1 for values in found.values()):
            problem = (
                f"`{item.file}` gives atoms of one element different magnetic moments ({text}). "
                "Labels begin with one moment per element, in cells of every size, which cannot "
                "all carry such an order: antiferromagnets cannot be labelled. Take the moments "
                "out of the file, and give `labels.magnetic_moments_uB` or nothing"
            )
        elif any(values[0] != given.get(symbol, 0.0) for symbol, values in found.items()):
            problem = (
                f"`{item.file}` gives magnetic moments ({text}) that `labels.magnetic_moments_uB` "
                "does not: labels begin with the latter. Make them the same, or take those in "
                "the file out"
            )
        else:
            continue
        problems.append((("structures", index), problem))
    return problems


def _model_problems(error: ValidationError) -> list[tuple[Location, str]]:
    """Return what pydantic found, a problem a place, in the user's words."""
    found: dict[Location, list[str]] = {}
    unlisted: dict[Location, list[str]] = {}  # one value where a list was offered too
    for item in error.errors(include_url=False):
        location, candidates = _resolved(item["loc"])
        if item["type"] == "extra_forbidden":
            message = _unknown_key(str(location[-1]), candidates)
        elif item["type"] == "missing":
            message = "is missing"
        elif item["type"] == "value_error":
            message = str(item["ctx"]["error"])
        elif item["type"] == "union_tag_invalid":
            message = f"`code` is {item['ctx']['tag']!r}; expected {item['ctx']['expected_tags']}"
        else:
            message = f"{item['msg'][0].lower()}{item['msg'][1:]}, but is {_shown(item['input'])}"
        is_other_way = item["type"] == "tuple_type"
        messages = (unlisted if is_other_way else found).setdefault(location, [])
        if message not in messages:
            messages.append(message)
    found = unlisted | found
    deepest = [place for place in found if not any(p[: len(place)] == place != p for p in found)]
    return [(location, "; or ".join(found[location])) for location in deepest]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _resolved(location: Sequence[str | int]) -> tuple[Location, list[type[BaseModel]]]:
    """Return a location without pydantic's union markers, and the sections its last key is in."""
    sections: list[type[BaseModel]] = [Campaign]
    kept: list[str | int] = []
    last = sections
    for depth, part in enumerate(location):
        if isinstance(part, int):
            kept.append(part)
            continue
        owners = [section for section in sections if part in section.model_fields]
        if owners:
            kept.append(part)
            last = sections
            sections = [
                inner
                for section in owners
                for inner in sections_of(section.model_fields[part].annotation)
            ]
        elif (tagged := [s for s in sections if _is_tag(part, s)]) and depth < len(location) - 1:
            sections = tagged
        elif not _is_marker(part) and (not sections or depth == len(location) - 1):
            kept.append(part)
            last = sections
    return tuple(kept), last


def _is_tag(part: str, section: type[BaseModel]) -> bool:
    code = section.model_fields.get("code")
    return part == section.__name__ or (code is not None and part in get_args(code.annotation))


def _is_marker(part: str) -> bool:
    """Return whether a part of pydantic's location names a member of a union, not a key."""
    plain = {"int", "float", "str", "bool", "none"}
    return any(sign in part for sign in "[(") or part.startswith("constrained-") or part in plain


def _unknown_key(key: str, sections: Sequence[type[BaseModel]]) -> str:
    valid = sorted({name for section in sections for name in section.model_fields})
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    if near:
        return f"is not a key here; did you mean `{near[0]}`?"
    homes = [dotted for dotted, name in _all_keys(Campaign, "") if name == key]
    if homes:
        return f"is not a key here; it belongs to {' or '.join(f'`{home}`' for home in homes)}"
    return f"is not a key here; the keys are {', '.join(valid)}"


def _all_keys(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        yield prefix or "the top level", name
        for inner in sections_of(field.annotation):
            yield from _all_keys(inner, f"{prefix}.{name}" if prefix else name)


def _report(
    path: Path, problems: Sequence[tuple[Location, str]], lines: Mapping[Location, int]
) -> str:
    def line_of(location: Location) -> int:
        while location and location not in lines:
            location = location[:-1]
        return lines.get(location, 0)

    ordered = sorted(problems, key=lambda problem: line_of(problem[0]))
    count = "a problem" if len(ordered) == 1 else f"{len(ordered)} problems"
    text = [f"`{path}` has {count}:"]
    for location, message in ordered:
        line = line_of(location)
        place = f"line {line}, " if line else ""
        text.append(f"  {place}`{dotted(location) or 'the file'}`: {message}")
    return "\n".join(text)


__all__ = [
    "LoadedCampaign",
    "load_campaign",
    "read_campaign",
    "with_elements",
]
