"""The pages hold together: links, commands and campaign keys that they name exist."""

import ast
import importlib
import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from nepal_flows.campaign.model import Campaign
from nepal_flows.cli.app import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def names(page):
    return str(page.relative_to(ROOT))


def blocks(page, *languages):
    text = page.read_text(encoding="utf-8")
    return [code for language, code in FENCE.findall(text) if language in languages]


def anchors(page):
    """Return the names that GitHub gives to a page's headings."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", title.strip().lower()) for title in titles]
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_relative_links_lead_somewhere(page):
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_on_the_map():
    linked = {
        (DOCS / target.partition("#")[0]).resolve()
        for target in LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))
    }
    pages = {page for page in DOCS.rglob("*.md") if DOCS / "validation" not in page.parents}
    assert pages - linked == {DOCS / "README.md"}


def commands():
    """Return the options of every command by its words."""
    found = {}
    root = get_command(app)
    for name, command in root.commands.items():
        inner = getattr(command, "commands", {"": command})
        for last, leaf in inner.items():
            options = {text for item in leaf.params for text in item.opts}
            found[f"{name} {last}".strip()] = options | {"--help"}
    return found


def mentioned(page):
    """Return the command lines of nepal in a page's shell blocks and code spans."""
    text = page.read_text(encoding="utf-8")
    shell = "\n".join(blocks(page, "bash", "console", "text")).replace("\\\n", " ")
    lines = re.findall(r"(?:^|[\s(])(nepal [^|#)\n]+)", shell, re.MULTILINE)
    return lines + re.findall(r"`(nepal [^`]+)`", FENCE.sub("", text))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_commands_and_options_that_are_named_exist(page):
    known = commands()
    for line in mentioned(page):
        words = [word for word in line.split()[1:] if not word.startswith("[")]
        if words[0].startswith("-") or not re.fullmatch(r"[a-z-]+", words[0]):
            continue
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in known), None)
        assert name or words[0] == "query", line
        options = known.get(name or "", set())
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", line)) <= options, line


MINIMAL = {
    "name": "example",
    "structures": ["POSCAR"],
    "exploration": {
        "conditions": [{"name": "crystal", "stages": [{"temperature_K": 300, "steps": 10}]}]
    },
}


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_pieces_of_campaign_files_are_valid(page):
    for code in blocks(page, "yaml"):
        piece = yaml.safe_load(code)
        if not set(piece) & set(Campaign.model_fields):
            continue  # jobflow.yaml, site settings
        exploration = MINIMAL["exploration"] | piece.get("exploration", {})
        Campaign.model_validate(MINIMAL | piece | {"exploration": exploration})


PROSE = [page for page in PAGES if page.name != "python.md"]  # that one holds signatures


@pytest.mark.parametrize("page", PROSE, ids=names)
def test_python_on_pages_imports_what_exists(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("nepal_flows"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, item.name) for item in node.names), ast.unparse(node)


def messages():
    """Return every text of the sources; what an f-string fills in stands as a gap."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
                found.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_symptoms_that_are_quoted_are_printed_by_the_sources():
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    symptoms = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    quoted = [text for symptom in symptoms for text in re.findall(r"`([^`]{9,})`", symptom)]
    assert len(quoted) > 40
    texts = messages()
    for quote in quoted:
        pattern = re.compile(".+".join(re.escape(part.strip()) for part in quote.split("...")))
        assert any(pattern.search(text) for text in texts), quote
