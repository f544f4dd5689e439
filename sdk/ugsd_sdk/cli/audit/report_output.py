"""The formats of reports, and where they are written."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_json
from ugsd_privacy.output.terminal import print_document

if TYPE_CHECKING:
    from ugsd_privacy.reports.fleet_model import FleetReport
    from ugsd_privacy.reports.model import Report

__all__ = ["FormatOption", "OutOption", "ReportFormat", "render_report", "write_report"]

# Heavy imports are inside the functions, so that --help answers at once.
# ruff: noqa: PLC0415


class ReportFormat(StrEnum):
    """Format of a report."""

    HTML = "html"
    JSON = "json"
    MARKDOWN = "md"


FormatOption = Annotated[
    ReportFormat, typer.Option("--format", help="Format of the report; HTML needs ugsd[report].")
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="File to write.  [default: standard output]"),
]


def render_report(result: Report | FleetReport, format_: ReportFormat) -> str:
    """Return a report in the given format."""
    from ugsd_privacy.reports.html import fleet_html, report_html
    from ugsd_privacy.reports.markdown import fleet_markdown, report_markdown
    from ugsd_privacy.reports.model import Report

    if format_ is ReportFormat.JSON:
        return plain_json(result.model_dump_json(indent=1)) + "\n"
    if isinstance(result, Report):
        return report_html(result) if format_ is ReportFormat.HTML else report_markdown(result)
    return fleet_html(result) if format_ is ReportFormat.HTML else fleet_markdown(result)


def write_report(text: str, out: Path | None, *, private: bool = False) -> None:
    """Write ``text`` to the file atomically, or print it if there is none. A ``private`` file may
    be read by its owner only. Raises ``ExportFailed``."""
    from ugsd_privacy.files.atomic_files import write_atomically

    if out is None:
        print_document(text)
        return
    write_atomically(out, text.encode(), mode=0o600 if private else 0o644)
