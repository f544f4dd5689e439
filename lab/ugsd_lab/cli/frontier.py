"""``ugsd-lab frontier``: measures what each setting gives and gives away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    MeasuresFile,
    require_one_output,
)
from ugsd_lab.cli.progress import shown_progress

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ugsd-lab frontier --data corpora --plot frontier.svg")(frontier)


def frontier(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Caption at most this many clips per speaker."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the frontier: .svg or .png.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the settings for `ugsd privacy recommend`: frontier.json beside a drafter.",
        ),
    ] = None,
    cache: MeasuresFile = Path("runs/starter/measures.json"),
    embeddings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the clips' audio embeddings here between runs."),
    ] = None,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Measure what each setting gives and gives away.

    Quality, tokens, numbers, bytes, epsilon, time and leakage of each gate at several rates, with
    and without noise, in- and out-of-domain. Runs on EMO-DB's test speakers, which come with the
    package, and on those of every corpus in --data; attackers learn from the other speakers.
    """
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.attacks.identification import identifications
    from ugsd_lab.attacks.study import prepare
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of
    from ugsd_lab.evaluation.frontier import (
        frontier_of,
        measured_frontier,
        recorded_clips,
        write_measured,
    )
    from ugsd_lab.evaluation.frontier_outcomes import EXPOSURES
    from ugsd_lab.evaluation.frontier_plot import draw_frontier
    from ugsd_lab.evaluation.frontier_printing import as_json as frontier_json
    from ugsd_lab.evaluation.frontier_printing import as_markdown, print_frontier
    from ugsd_lab.evaluation.plots import check_picture

    require_one_output(as_json=as_json, markdown=markdown)
    if plot is not None:
        check_picture(plot)
    pair = pair_of(drafter)
    clips = load_corpora(data)
    with shown_progress() as progress:
        # First, since it refuses embeddings of another encoder before minutes of captioning.
        target = prepare(clips, pair.drafter, pair.in_domain, embeddings, progress)
        recorded = recorded_clips(clips, pair, cache=cache, progress=progress, limit=limit)
        leaks = identifications(target, EXPOSURES, progress)
    found = frontier_of(recorded, leaks)
    measured = measured_frontier(found, pair, _command(drafter, data, limit))
    if plot is not None:
        draw_frontier(plot, found)
    if out is not None:
        write_measured(measured, out)
    if as_json:
        print_json(json.dumps(frontier_json(found), indent=1))
    elif markdown:
        print_document(f"{as_markdown(found, measured)}\n")
    else:
        print_frontier(found, measured, console())


def _command(drafter: str, data: Path | None, limit: int | None) -> str:
    """Return the command that prints the same figures."""
    folder = "" if data is None else " --data DIR"
    quick = "" if limit is None else f" --limit {limit}"
    return f"ugsd-lab frontier --drafter {drafter}{folder}{quick}"
