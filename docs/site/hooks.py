"""Adds generated pages and converts links, when mkdocs calls these hooks during a build."""

from __future__ import annotations

import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

import links
import reference


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List every decision in the navigation."""
    (chapter,) = [part for part in config.nav or () if "Decisions" in part]
    for number, title, _, _, name in reference.decisions():
        chapter["Decisions"].append({f"{number} {title}": f"decisions/{name}"})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the documents of the repository's top level."""
    for uri, content in reference.pages().items():
        files.append(File.generated(config, uri, content=content))
    for source, uri in links.TOP_LEVEL.items():
        if files.get_file_from_path(uri) is None:
            text = (links.ROOT / source).read_text(encoding="utf-8")
            content = links.for_the_site(text, source, uri)
            files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs/ into links to pages, or into text."""
    uri = page.file.src_uri
    if page.file.generated_by is not None:
        return markdown
    return links.for_the_site(markdown, links.DOCS + uri, uri)
