"""``ugsd-lab bench``: measures speed, size, what captions depend on, and speaker profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_document, print_json

from ugsd_lab.cli.bench_link import bench_link
from ugsd_lab.cli.bench_visitors import bench_visitors
from ugsd_lab.cli.options import (
    AsJson,
    DataFolder,
    DrafterName,
    Markdown,
    require_one_output,
)
from ugsd_lab.cli.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ugsd_lab.bench.figures import Figure
    from ugsd_lab.tables import TextTable

__all__ = ["register"]

_HELP = "Measure speed, size, and what captions depend on."
_COLUMNS = 150
"""Width of tables with many columns."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=_HELP)
    bench.command("device", epilog="Example: ugsd-lab bench device --runs 50")(bench_device)
    bench.command("drafting", epilog="Example: ugsd-lab bench drafting --runs 10")(bench_drafting)
    bench.command("privacy", epilog="Example: ugsd-lab bench privacy --runs 2000")(bench_privacy)
    bench.command("log", epilog="Example: ugsd-lab bench log --records 100000")(bench_log)
    bench.command("speech", epilog="Example: ugsd-lab bench speech --data corpora")(bench_speech)
    bench.command("robustness", epilog="Example: ugsd-lab bench robustness --limit 20")(
        bench_robustness
    )
    bench.command("speakers", epilog="Example: ugsd-lab bench speakers --data corpora")(
        bench_speakers
    )
    bench.command("visitors", epilog="Example: ugsd-lab bench visitors --data corpora")(
        bench_visitors
    )
    bench.command("budget", epilog="Example: ugsd-lab bench budget --seeds 3")(bench_budget)
    bench.command(
        "encoders", epilog="Example: ugsd-lab bench encoders --whisper whisper-tiny-en.safetensors"
    )(bench_encoders)
    bench.command("stream", epilog="Example: ugsd-lab bench stream --minutes 10")(bench_stream)
    bench.command("link", epilog="Example: ugsd-lab bench link --round-trip 50 --clips 4")(
        bench_link
    )
    bench.command("callers", epilog="Example: ugsd-lab bench callers --rounds 10")(bench_callers)
    app.add_typer(bench, name="bench")


def bench_device(
    runs: Annotated[
        int, typer.Option(min=5, metavar="N", help="Number of warm captions to time.")
    ] = 40,
    as_json: AsJson = False,
) -> None:
    """Measure the device.

    Measures import time, cold start, warm latency, memory, bytes sent and installed size.
    """
    from ugsd_lab.bench.device import measure_device

    with shown_progress() as progress:
        figures = measure_device(runs, progress)
    _print_figures(figures, as_json=as_json)


def bench_drafting(
    drafter: DrafterName = "starter",
    clips: Annotated[
        int, typer.Option(min=1, metavar="N", help="Test clips of EMO-DB, which is bundled.")
    ] = 20,
    runs: Annotated[
        int, typer.Option(min=3, metavar="N", help="How often each caption is drafted.")
    ] = 10,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Drafting, compared with PyTorch eager.

    Drafts the same captions with the same weights in PyTorch eager and ONNX Runtime, token by token
    and with proposals, which the decoder checks several at a time. All on one thread, in turn.
    """
    from ugsd_lab.bench.drafting import bench_drafting as measure
    from ugsd_lab.bench.drafting import notes, tables
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    chosen = [clip for clip in load_corpora(None) if clip.split == "test"][:clips]
    with shown_progress() as progress:
        found = measure(chosen, pair_of(drafter).drafter, runs, progress)
    document: dict[str, object] = {"drafting": [cost.as_dict() for cost in found]}
    _print_tables(tables(found), notes(found), document, as_json=as_json, markdown=markdown)


def bench_callers(
    drafter: DrafterName = "starter",
    callers: Annotated[
        int, typer.Option(min=2, metavar="N", help="Threads that caption at once.")
    ] = 8,
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How often all systems are measured in turn.")
    ] = 12,
    captions: Annotated[
        int, typer.Option(min=2, metavar="N", help="Captions of each system in each round.")
    ] = 64,
    users: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="Largest number of users whose memory is measured."),
    ] = 64,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Many callers and many users of one captioner.

    Captions per second and waits of one caller and of several at once, who are also compared with a
    lock around the captioner, and the memory that one more user takes, offline and connected to a
    verifier. Runs on EMO-DB, which comes with the package.
    """
    from ugsd_lab.bench.callers import bench_callers as measure
    from ugsd_lab.bench.callers import notes, tables
    from ugsd_lab.bench.user_memory import measure_user_memory
    from ugsd_lab.bench.user_memory import tables as memory_tables
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    with shown_progress() as progress:
        found = measure(callers, rounds, captions, progress, drafter=str(pair_of(drafter).drafter))
        memory = measure_user_memory(users, progress)
    document = found.as_dict() | {"memory": [one.as_dict() for one in memory]}
    printed = [*tables(found), *memory_tables(memory)]
    _print_tables(printed, notes(found), document, as_json=as_json, markdown=markdown)


def bench_privacy(
    runs: Annotated[
        int, typer.Option(min=20, metavar="N", help="Number of blocks to time.")
    ] = 1000,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder on the disk to measure.  [default: a temporary folder]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the egress.

    Measures its durable commit, the handshake, noise, and overhead on the wire.
    """
    from ugsd_lab.bench.privacy import measure_privacy

    with shown_progress() as progress:
        figures = measure_privacy(runs, folder, progress)
    _print_figures(figures, as_json=as_json)


def bench_log(
    records: Annotated[
        int, typer.Option(min=256, metavar="N", help="Number of records in the log to verify.")
    ] = 100_000,
    appends: Annotated[
        int, typer.Option(min=100, metavar="N", help="Number of durable appends to time.")
    ] = 4000,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder on the disk to measure.  [default: a temporary folder]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the log.

    Measures durable appends, verification, export and tiles.
    """
    from ugsd_lab.bench.log import measure_log

    with shown_progress() as progress:
        figures = measure_log(records, appends, folder, progress)
    _print_figures(figures, as_json=as_json)


def _print_figures(figures: list[Figure], *, as_json: bool) -> None:
    if as_json:
        print_json(json.dumps([figure.as_dict() for figure in figures], indent=1))
        return
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.tables import TextTable, print_tables

    rows = [
        (figure.name, f"{figure.value:,.4g} {figure.unit}", figure.goal_text, figure.mark)
        for figure in figures
    ]
    print_tables([TextTable(("measure", "value", "goal", ""), rows)], console())


def bench_speech(
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False,
            help="Folder with corpora.  [default: EMO-DB alone, which is bundled]",
        ),
    ] = None,
    clips: Annotated[
        int, typer.Option(metavar="N", min=1, help="Test clips per corpus at most.")
    ] = 100,
    recordings: Annotated[
        int, typer.Option(metavar="N", min=1, help="Recordings of each kind of sound.")
    ] = 60,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Missed speech by noise, and false alarms by sound."""
    from ugsd_lab.bench.speech import bench_speech as measure
    from ugsd_lab.bench.speech import tables

    with shown_progress() as progress:
        found = measure(data, clips, recordings, progress)
    _print_tables(tables(found), (), found.as_dict(), as_json=as_json, markdown=False)


def bench_stream(
    data: DataFolder = None,
    minutes: Annotated[
        int, typer.Option(min=1, metavar="N", help="Minutes of sound to stream.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """What a stream costs, and what it finds.

    Streams test clips with pauses and sounds between them in chunks of 20 ms, on one core, and
    compares with the utterances that the offline detector finds. Runs on EMO-DB, which comes with
    the package, and on every corpus in --data.
    """
    from ugsd_lab.bench.stream import bench_stream as measure

    with shown_progress() as progress:
        figures = measure(data, minutes, progress)
    _print_figures(figures, as_json=as_json)


def bench_robustness(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Caption at most this many clips per speaker."),
    ] = None,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """Captions under silence, noise, repetition and level.

    The drafter alone captions clips of test speakers as recorded, with silence or a quiet room
    around them, repeated, in noise, at a low level and in a simulated room. Runs on EMO-DB, which
    comes with the package, and on every corpus in --data.
    """
    from ugsd_sdk.drafter.onnx import OnnxDrafter

    from ugsd_lab.bench.robustness import bench_robustness as measure
    from ugsd_lab.bench.robustness import notes, tables
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    folder = pair_of(drafter).drafter
    clips = load_corpora(data)
    with shown_progress() as progress:
        found = measure(clips, OnnxDrafter(folder), progress, limit=limit)
    _print_tables(tables(found), notes(found), found.as_dict(), as_json=as_json, markdown=markdown)


def bench_speakers(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    split: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Speakers to measure: calibration for thresholds, dev for choices, test for "
            "tables.",
        ),
    ] = "test",
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Use at most this many clips per speaker.")
    ] = 60,
    distances: Annotated[
        bool, typer.Option("--distances", help="Print quantiles of the distances, too.")
    ] = False,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """How well a device tells speakers apart.

    Counts clips that a speaker profile refuses, profiles that people enrol alone and in turns,
    recordings of two speakers that are noticed, and repeated recordings that are. Runs on EMO-DB,
    which comes with the package, and on every corpus in --data. JSON always has the distances.
    """
    from ugsd_sdk.drafter.onnx import OnnxDrafter

    from ugsd_lab.bench.speaker_tables import distance_tables, notes, tables
    from ugsd_lab.bench.speakers import bench_speakers as measure
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    folder = pair_of(drafter).drafter
    clips = load_corpora(data)
    with shown_progress() as progress:
        found = measure(clips, OnnxDrafter(folder), progress, split=split, limit=limit)
    printed = [*tables(found), *(distance_tables(found) if distances else ())]
    _print_tables(printed, notes(found), found.as_dict(), as_json=as_json, markdown=markdown)


def bench_budget(
    data: DataFolder = None,
    drafter: DrafterName = "starter",
    seeds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of simulated runs of four days.")
    ] = 10,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:
    """What a budget is worth, by how it is spent.

    Simulates days of questions about real clips, which come evenly, at peaks and in bursts.
    Compares first come first served, a fixed threshold and budget pacing with the offline optimum,
    for each measure and for budgets of 10, 30 and 60 % of the demand. Runs on EMO-DB, which comes
    with the package, and on every corpus in --data.
    """
    from ugsd_lab.bench.budget import bench_budget as measure
    from ugsd_lab.bench.budget import notes, tables
    from ugsd_lab.data.corpora import load_corpora
    from ugsd_lab.evaluation import pair_of

    require_one_output(as_json=as_json, markdown=markdown)
    folder = pair_of(drafter).drafter
    clips = load_corpora(data)
    with shown_progress() as progress:
        found = measure(clips, folder, progress, seeds=seeds)
    _print_tables(tables(found), notes(found), found.as_dict(), as_json=as_json, markdown=markdown)


def bench_encoders(
    whisper: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Encoder of a Whisper model: a safetensors file with the tensor names of Hugging "
            "Face Transformers; may be repeated.",
        ),
    ],
    data: DataFolder = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Use at most this many clips per speaker."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep audio embeddings here between runs.")
    ] = None,
    runs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of clips to time.")
    ] = 20,
    workers: Annotated[
        int, typer.Option(min=1, metavar="N", help="Processes that encode clips.")
    ] = 2,
    as_json: AsJson = False,
    markdown: Markdown = False,
) -> None:  # fmt: skip
    """Audio encoders: emotion against time and size.

    One or two of the first layers of each Whisper encoder are pooled, in windows of two lengths. A
    linear read-out of its audio embedding names the emotions of development speakers.
    """
    from ugsd_lab.bench.encoders import bench_encoders as measure
    from ugsd_lab.bench.encoders import notes, tables
    from ugsd_lab.data.corpora import load_corpora

    require_one_output(as_json=as_json, markdown=markdown)
    clips = load_corpora(data)
    with shown_progress() as progress:
        rows = measure(
            clips, whisper, progress, limit=limit, cache=cache, runs=runs, workers=workers
        )
    document: dict[str, object] = {"encoders": [row.as_dict() for row in rows]}
    _print_tables(tables(rows), notes(), document, as_json=as_json, markdown=markdown)


def _print_tables(
    tables: Sequence[TextTable],
    notes: Sequence[str],
    document: dict[str, object],
    *,
    as_json: bool,
    markdown: bool,
) -> None:
    if as_json:
        print_json(json.dumps(document, indent=1))
        return
    from ugsd_privacy.output.consoles import console

    from ugsd_lab import tables as printed

    if markdown:
        print_document(f"{printed.markdown(tables, notes)}\n")
        return
    printed.print_tables(tables, console(), notes, columns=_COLUMNS)
