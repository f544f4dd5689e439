"""Reads the documents for people: their text, code, commands, links and headings."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SECURITY = ROOT / "SECURITY.md"
EXAMPLES = ROOT / "examples" / "README.md"
TOP_LEVEL = [README, SECURITY, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
CARDS = sorted(
    path for package in ("sdk", "server") for path in (ROOT / package).glob("*/*/README.md")
)
"""These pages describe models."""
PAGES = [
    *TOP_LEVEL,
    ROOT / "examples" / "README.md",
    *CARDS,
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def name_of(page: Path) -> str:
    """Return the path of a page within the repository."""
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """Return the whole text of a page."""
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return _FENCE.sub("", text_of(page))


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of one language, in their order."""
    return [code for found, code in _FENCE.findall(text_of(page)) if found == language]


def blocks_of_all(language: str) -> list[tuple[str, str]]:
    """Return the code blocks of one language in all pages, each with the name of its page."""
    return [(name_of(page), code) for page in PAGES for code in blocks(page, language)]


def commands() -> list[str]:
    """Return the commands in console blocks, and those that printed a measured table."""
    lines = [line for _, code in blocks_of_all("console") for line in code.split("\n")]
    for page in PAGES:
        lines += re.findall(r"<!-- measured: (.*?) -->", text_of(page))
    return sorted({line for line in lines if line})


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures within the repository."""
    return [found for found in _LINK.findall(prose_of(page)) if "://" not in found]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as the site and code hosts make them."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain)).strip("-")
        found[slug] = found.get(slug, 0) + 1
    return {slug if not n else f"{slug}_{n}" for slug, count in found.items() for n in range(count)}
