"""``ugsd demo``: caption the bundled clips, with and without the embedded verifier."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ugsd_sdk.cli.options import settings_from

if TYPE_CHECKING:
    from rich.table import Table
    from ugsd_privacy.audit.verify import LogSummary

    from ugsd_sdk.caption import Caption
    from ugsd_sdk.cli.clips import DemoClip
    from ugsd_sdk.home import Home

__all__ = ["register"]

# Heavy imports are inside the command, so that --help answers at once.
# ruff: noqa: PLC0415

_CLIPS = Path(__file__).parents[1] / "starter" / "clips"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo", epilog="Example: ugsd demo")(demo)


def demo(
    home: Annotated[
        Path | None,
        typer.Option(
            "--home",
            metavar="DIR",
            help="Folder for ledger and log.  [default: a temporary folder]",
        ),
    ] = None,
) -> None:
    """Caption bundled clips, without and with a verifier.

    Each clip is captioned on this device alone, then with a verifier on this machine. Each speaker
    is a separate user and is enrolled first. The demonstration shows which words and how many bytes
    were sent, and verifies the log.
    """
    from ugsd_sdk.cli.audit.verify import describe
    from ugsd_sdk.cli.caption_output import legend, stdout
    from ugsd_sdk.cli.clips import read_clips
    from ugsd_sdk.home import Home

    console, clips = stdout(), read_clips(_CLIPS)
    with ExitStack() as stack:
        if home is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ugsd-demo-")))
        place = Home.from_path(home)
        before = _verified(place)
        bytes_before = 0 if before is None else before.total.bytes
        rows = _caption_twice(home, clips)
        console.print(_table(rows, colour=console.is_terminal))
        console.print(legend(colour=console.is_terminal))
        console.print(
            "The drafter knows German speech well, and the verifier less well: it helps with "
            "languages that the drafter was not trained on, of which no recording is bundled."
        )
        summary = _verified(place)
        blocks_bytes = sum(caption.usage.bytes_sent for _, _, caption in rows)
        total_bytes = 0 if summary is None else summary.total.bytes - bytes_before
        num_enrolment = sum(clip.acquaints for clip in clips)
        console.print(
            f"{num_enrolment} other clips enrolled the speakers; nothing of them was sent"
        )
        console.print(
            f"{blocks_bytes} bytes of blocks and {total_bytes - blocks_bytes} bytes of handshakes "
            "were sent; no audio was"
        )
        if summary is not None:
            console.print(describe(summary))


def _verified(place: Home) -> LogSummary | None:
    from ugsd_sdk.reports.verification import open_view, owner_of, verify_home

    with open_view(place) as view:
        return verify_home(place, view, owner=owner_of(place, None))


def _caption_twice(
    home: Path, clips: tuple[DemoClip, ...]
) -> list[tuple[DemoClip, Caption, Caption]]:
    from ugsd_privacy.output.consoles import bars, console

    from ugsd_sdk.captioner import Captioner
    from ugsd_sdk.cli.caption import await_verifier
    from ugsd_sdk.settings.config import EMBEDDED

    rows = []
    speakers = dict.fromkeys(clip.speaker for clip in clips)
    on = console(stderr=True)
    with bars(on, transient=True) as shown:
        for speaker in shown.track(speakers, description="captioning"):
            alone_settings = settings_from(None, home=home, user=speaker, offline=True)
            settings = settings_from(None, home=home, user=speaker, verifier=EMBEDDED)
            with Captioner(config=alone_settings) as alone, Captioner(config=settings) as verified:
                await_verifier(verified, settings)
                own = [clip for clip in clips if clip.speaker == speaker]
                for clip in sorted(own, key=lambda clip: not clip.acquaints):
                    path = _CLIPS / clip.file
                    row = (clip, alone.caption(path), verified.caption(path))
                    if not clip.acquaints:
                        rows.append(row)
    return rows


def _table(rows: list[tuple[DemoClip, Caption, Caption]], *, colour: bool) -> Table:
    from rich.table import Table
    from rich.text import Text
    from ugsd_privacy.output.plain_text import plain_line

    from ugsd_sdk.cli.caption_output import caption_text

    table = Table(show_lines=True)
    for name in ("clip", "this device alone", "with a verifier", "what was sent"):
        table.add_column(name, overflow="fold")
    for clip, alone, verified in rows:
        unverified = (
            ""
            if verified.unverified_reason is None
            else f"\n({plain_line(str(verified.unverified_reason))})"
        )
        table.add_row(
            Text(f"{clip.language}, {clip.emotion}\n{clip.speaker}"),
            caption_text(alone, colour=colour),
            caption_text(verified, colour=colour),
            Text(verified.usage.text() + unverified),
        )
    return table
