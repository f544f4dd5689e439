"""``ugsd-lab bench``: measures speed and size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_json

from ugsd_lab.cli.options import AsJson
from ugsd_lab.cli.progress import shown_progress

if TYPE_CHECKING:
    from ugsd_lab.bench.figures import Figure

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure speed and size.")
    bench.command("device", epilog="Example: ugsd-lab bench device --runs 50")(bench_device)
    bench.command("privacy", epilog="Example: ugsd-lab bench privacy --runs 2000")(bench_privacy)
    bench.command("log", epilog="Example: ugsd-lab bench log --records 100000")(bench_log)
    bench.command("speech", epilog="Example: ugsd-lab bench speech --data corpora")(bench_speech)
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
    if as_json:
        print_json(json.dumps(found.as_dict(), indent=1))
        return
    from ugsd_privacy.output.consoles import console

    from ugsd_lab.tables import print_tables

    print_tables(tables(found), console())
