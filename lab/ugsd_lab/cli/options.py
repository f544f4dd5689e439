"""Options that several commands of ``ugsd-lab`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ugsd_lab.data.corpora import KNOWN_CORPORA
from ugsd_lab.errors import EvaluationError

__all__ = [
    "AsJson",
    "DataFolder",
    "DrafterName",
    "Markdown",
    "MeasuresFile",
    "WriteBeside",
    "require_one_output",
]

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", exists=True, file_okay=False,
        help=f"Folder with more corpora, each below its name: {', '.join(KNOWN_CORPORA)}.",
    ),
]  # fmt: skip
DrafterName = Annotated[
    str, typer.Option(metavar="NAME|DIR", help="starter, free, ceiling, or a folder.")
]
MeasuresFile = Annotated[
    Path, typer.Option(metavar="FILE", help="Keeps measured prosody between runs.")
]
WriteBeside = Annotated[
    bool, typer.Option("--write", help="Keep the figures beside the drafter, for its users.")
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Tables as a document holds them.")]


def require_one_output(*, as_json: bool, markdown: bool) -> None:
    """Raise :class:`EvaluationError` where both outputs are asked for."""
    if as_json and markdown:
        raise EvaluationError("--json and --markdown are two outputs: name one of them")
