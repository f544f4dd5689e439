"""Read the tables of a page or a Markdown text, independently of the code that writes them."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

Table = list[dict[str, str]]


def html_tables(page: str) -> dict[str, Table]:
    """Return the tables by their captions; each row maps columns to texts."""
    parser = _Tables()
    parser.feed(page)
    return {title: [dict(zip(head, row, strict=True)) for row in rows]
            for title, (head, *rows) in parser.tables.items()}  # fmt: skip


def markdown_tables(text: str) -> dict[str, Table]:
    """Return the tables by the heading before them."""
    found: dict[str, Table] = {}
    heading, rows = "", list[list[str]]()
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "inline" and before is not None:
            words = "".join(child.content for child in token.children or ())
            if before.type == "heading_open":
                heading = words
            elif before.type in {"th_open", "td_open"}:
                rows[-1].append(words)
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "table_close":
            head, *body = rows
            found[heading] = [dict(zip(head, row, strict=True)) for row in body]
            rows = []
    return found


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._title, self._rows, self._open = "", list[list[str]](), ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "table":
            self._title, self._rows = "", []
        elif tag == "tr":
            self._rows.append([])
        elif tag in {"td", "th"}:
            self._rows[-1].append("")
            self._open = "cell"
        elif tag == "caption":
            self._open = tag

    def handle_endtag(self, tag: str) -> None:
        if tag in {"td", "th", "caption"}:
            self._open = ""
        elif tag == "table":
            cells = [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in self._rows]
            self.tables[self._title] = cells

    def handle_data(self, data: str) -> None:
        if self._open == "caption":
            self._title += data
        elif self._open == "cell":
            self._rows[-1][-1] += data
