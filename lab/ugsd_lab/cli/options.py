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
    "require_possible_noise",
]

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", exists=True, file_okay=False,
        help=f"Folder with more corpora, in subfolders named {', '.join(KNOWN_CORPORA)}.",
    ),
]  # fmt: skip
DrafterName = Annotated[
    str, typer.Option(metavar="NAME|DIR", help="Drafter: starter, free, ceiling, or a folder.")
]
MeasuresFile = Annotated[
    Path, typer.Option(metavar="FILE", help="Keep measured prosody here between runs.")
]
WriteBeside = Annotated[
    bool, typer.Option("--write", help="Write the figures into the drafter's folder.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")]


def require_one_output(*, as_json: bool, markdown: bool) -> None:
    """Raise :class:`EvaluationError` if both outputs are requested."""
    if as_json and markdown:
        raise EvaluationError("--json and --markdown exclude each other: name one of them")


def require_possible_noise(sigma: float) -> None:
    """Raise :class:`EvaluationError` for noise that the device cannot add."""
    from ugsd_privacy.dp.mechanism import MAX_SIGMA  # loads NumPy

    if not 0 < sigma <= MAX_SIGMA:
        raise EvaluationError(f"--noise: {sigma:g} is not above 0 and at most {MAX_SIGMA:g}")
