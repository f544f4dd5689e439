"""Converts the repository's documents for the site: links between pages, and lists."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath

ROOT = Path(__file__).parents[2]
DOCS = "docs/"
TOP_LEVEL = {
    "README.md": "index.md",
    "SECURITY.md": "security/policy.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Maps documents outside docs/ to the pages of the site that show them."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_LIST_IN_PARAGRAPH = re.compile(r"^(?!\s|[-|#>]|\* |\d+\. )(.+)\n(?=- )", re.MULTILINE)
_FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)


def for_the_site(markdown: str, source: str, page: str) -> str:
    """Return Markdown of the repository's file ``source``, for the site's page ``page``.

    Links to other documents lead to their pages. Links to files that the site does not have, such
    as source code, become their text. A list may follow a paragraph without a blank line, as code
    hosts allow.
    """

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target = link.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in path:
            return link[0]
        found = page_of(normpath(PurePosixPath(source).parent / path))
        if found is None:
            return text
        there = relpath(found, PurePosixPath(page).parent)
        return f"{mark}[{text}]({there}{'#' + anchor if anchor else ''})"

    parts = _FENCED.split(markdown)
    return "".join(
        part
        if part.startswith("```")
        else _LINK.sub(rewritten, _LIST_IN_PARAGRAPH.sub(r"\1\n\n", part))
        for part in parts
    )


def page_of(path: str) -> str | None:
    """Return the page or file of the site that shows the repository's ``path``, or ``None``."""
    if path in TOP_LEVEL:
        return TOP_LEVEL[path]
    if not path.startswith(DOCS):
        return None
    within = path.removeprefix(DOCS)
    return f"{within}/index.md" if (ROOT / path).is_dir() else within
