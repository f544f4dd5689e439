"""``ugsd-lab quality``: what each disclosure reaches at each threshold."""

from __future__ import annotations

from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    WriteBeside,
    require_one_output,
)
from ugsd_lab.cli.progress import shown_progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab quality --data corpora")(quality)


def quality(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    limit: Annotated[
        int, typer.Option(min=2, help="At most so many clips per speaker, half of that to check.")
    ] = 120,
    write: WriteBeside = False,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """What each disclosure reaches at each threshold, on calibration speakers: risk, gain and cost,
    from which a target in the settings picks the least that leaves.

    Runs on EMO-DB's calibration speaker, who comes with the package, and on those of every corpus
    in --data.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of
    from ugsd_lab.evaluation.risk_calibration import measure, write_quality
    from ugsd_lab.evaluation.risk_calibration_tables import as_markdown, print_quality

    require_one_output(as_json=as_json, markdown=markdown)
    pair = pair_of(drafter)
    named = f"ugsd-lab quality --drafter {drafter}" + ("" if data is None else " --data DIR")
    with shown_progress() as progress:
        found = measure(
            load_corpora(data), pair, command=f"{named} --limit {limit}", limit=limit,
            progress=progress,
        )  # fmt: skip
    if write:
        write_quality(found, pair.drafter)
    if as_json:
        print_json(found.model_dump_json(indent=1))
    elif markdown:
        print_document(f"{as_markdown(found)}\n")
    else:
        print_quality(found, console())
