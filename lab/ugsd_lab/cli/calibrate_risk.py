"""``ugsd-lab calibrate-risk``: measures risk, gain and cost of each threshold of a question."""

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
    app.command("calibrate-risk", epilog="Example: ugsd-lab calibrate-risk --data corpora")(
        calibrate_risk
    )


def calibrate_risk(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    limit: Annotated[
        int,
        typer.Option(
            min=2,
            metavar="N",
            help="Caption at most this many clips per speaker; half as many for the checks.",
        ),
    ] = 120,
    write: WriteBeside = False,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Measure risk, gain and cost of each threshold.

    They are measured per question, on calibration speakers. From these figures, target_risk and
    target_gain in the settings choose the threshold that asks least. Runs on EMO-DB's calibration
    speaker, who comes with the package, and on those of every corpus in --data.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of
    from ugsd_lab.evaluation.risk_calibration import measure, write_risk_calibration
    from ugsd_lab.evaluation.risk_calibration_tables import as_markdown, print_risk_calibration

    require_one_output(as_json=as_json, markdown=markdown)
    pair = pair_of(drafter)
    folder = "" if data is None else " --data DIR"
    command = f"ugsd-lab calibrate-risk --drafter {drafter}{folder} --limit {limit}"
    with shown_progress() as progress:
        measured = measure(
            load_corpora(data), pair, command=command, limit=limit, progress=progress
        )
    if write:
        write_risk_calibration(measured, pair.drafter)
    if as_json:
        print_json(measured.model_dump_json(indent=1))
    elif markdown:
        print_document(f"{as_markdown(measured)}\n")
    else:
        print_risk_calibration(measured, console())
