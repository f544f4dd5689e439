"""``ugsd-lab bench link``: systems over an emulated link, on a slowed device."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json
from ugsd_sdk.attributes.length import CaptionLength

from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    MeasuresFile,
    require_one_output,
)
from ugsd_lab.cli.progress import shown_progress

__all__ = ["bench_link"]

_COLUMNS = 210
_LENGTHS = (CaptionLength.NORMAL, CaptionLength.RICH)
_SLOWDOWNS, _ROUND_TRIPS_MS = (1.0, 10.0, 100.0), (0.0, 50.0, 200.0)
_CLIPS, _QUICK_CLIPS = 6, 1
_QUICK_TIME_SCALE = 20.0


def bench_link(
    slowdown: Annotated[
        list[float] | None,
        typer.Option(
            min=1, max=1000, metavar="N",
            help="How many times slower than this machine the device is; may be repeated.  "
            "[default: 1, 10, 100]",
        ),
    ] = None,
    round_trip: Annotated[
        list[float] | None,
        typer.Option(
            min=0, max=10_000, metavar="MS",
            help="Round trip of the link; may be repeated.  [default: 0, 50, 200]",
        ),
    ] = None,
    length: Annotated[
        list[CaptionLength] | None,
        typer.Option(
            metavar="NAME",
            help="Length of captions with slots; may be repeated.  [default: normal, rich]",
        ),
    ] = None,
    clips: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Test clips of each corpus.  [default: 6]"),
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A system to run; may be repeated.  [default: all]"),
    ] = None,
    jitter: Annotated[
        float, typer.Option(min=0, max=10_000, metavar="MS", help="Most jitter, each way.")
    ] = 0.0,
    loss: Annotated[
        float, typer.Option(min=0, max=0.9, metavar="P", help="Probability that a segment is lost.")
    ] = 0.0,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            min=1, metavar="KBIT", help="Bandwidth in kilobits a second, each way.  "
            "[default: unlimited]",
        ),
    ] = None,
    paper: Annotated[
        bool | None,
        typer.Option(
            "--paper/--no-paper",
            help="Run only the paper's step times, replayed, or only the slowed device.  "
            "[default: both]",
        ),
    ] = None,
    paper_tokens: Annotated[
        int,
        typer.Option(
            min=2, max=96, metavar="N",
            help="Length of the longer captions with the paper's times.",
        ),
    ] = 64,
    time_scale: Annotated[
        float,
        typer.Option(
            min=1, max=50, metavar="N",
            help="Replay the paper's times N times faster, link included, and scale them back.",
        ),
    ] = 1.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="One clip, a few rows, no figures to quote.")
    ] = False,
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    cache: MeasuresFile = Path("runs/starter/measures.json"),
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:  # fmt: skip
    """Systems over a slow link, on a slow device.

    Measures latency, tokens per second, quality, bytes and CPU time of device and verifier. The
    link, the device's speed, and with the paper's step times the verifier's are emulated; the rest
    is the real captioner and server. Runs on EMO-DB, which comes with the package, and on every
    corpus in --data.
    """
    from ugsd_lab import tables as printed
    from ugsd_lab.bench.emulated_link import LinkConditions
    from ugsd_lab.bench.link import bench_link as measure
    from ugsd_lab.bench.link_settings import paper_settings, selected_systems, slowed_settings
    from ugsd_lab.bench.link_tables import notes, tables
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    selected = selected_systems(system)
    slowdowns = slowdown or (_SLOWDOWNS[:1] if quick else _SLOWDOWNS)
    lengths = length or (_LENGTHS[:1] if quick else _LENGTHS)
    links = [
        LinkConditions(
            round_trip_s=trip_ms / 1000,
            jitter_s=jitter / 1000,
            loss=loss,
            bytes_per_s=math.inf if bandwidth is None else 125 * bandwidth,
        )
        for trip_ms in round_trip or (_ROUND_TRIPS_MS[1:2] if quick else _ROUND_TRIPS_MS)
    ]
    settings = [] if paper else slowed_settings(slowdowns, lengths)
    if paper is not False:
        settings += paper_settings(_QUICK_TIME_SCALE if quick else time_scale, paper_tokens)
    folder = pair_of(drafter).drafter
    with shown_progress() as progress:
        study = measure(
            load_corpora(data),
            folder,
            settings,
            links,
            selected,
            progress,
            num_clips=clips or (_QUICK_CLIPS if quick else _CLIPS),
            cache=cache,
        )
    if as_json:
        print_json(json.dumps(study.as_dict(), indent=1))
        return
    from ugsd_privacy.output.consoles import console

    if markdown:
        print_document(f"{printed.markdown(tables(study), notes(study, links))}\n")
        return
    printed.print_tables(tables(study), console(), notes(study, links), columns=_COLUMNS)
