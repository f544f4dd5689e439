"""``ugsd audit export``, ``receipt`` and ``prove``: the log as others can verify it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from ugsd_privacy.output.terminal import print_error, print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.keys.log import LogKey
    from ugsd_privacy.ledger import Ledger

    from ugsd_sdk.home import Home

__all__ = ["NoteOption", "OpenLog", "fail", "open_log", "register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

NoteOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        metavar="NOTE",
        help="A checkpoint kept elsewhere, which the log must extend; may be repeated.",
    ),
]


def register(audit: typer.Typer) -> None:
    """Add the commands to ``ugsd audit``."""
    audit.command("export", epilog="Example: ugsd audit export log.ugsd --tiles public/log")(export)
    audit.command("key", epilog="Example: ugsd audit key > log.pub")(key)
    audit.command("receipt", epilog="Example: ugsd audit receipt 7 > receipt.json")(receipt)
    audit.command("prove", epilog="Example: ugsd audit prove --from earlier.note > proof.json")(
        prove
    )


def export(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="One file that anyone can verify, see `verify`."),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    tiles: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Tiles and checkpoint for any static file server."),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="NOTE", help="An earlier checkpoint, which FILE shows to be extended."
        ),
    ] = None,
    with_bodies: Annotated[
        bool,
        typer.Option("--with-bodies", help="In FILE, the records' bodies too, sealed as they are."),
    ] = False,
) -> None:
    """Write the log so that others can verify it without this device.

    It tells how much left and when, by hours; what left is in the bodies alone.
    """
    from ugsd_privacy.audit.export import export_log
    from ugsd_privacy.audit.publishing import publish_tiles
    from ugsd_privacy.files.atomic_files import atomic_writer
    from ugsd_privacy.tlog.note_files import read_note

    from ugsd_sdk.home import Home

    if file is None and tiles is None:
        raise typer.BadParameter("name a FILE, or --tiles DIR, or both")
    if file is None and (with_bodies or since is not None):
        raise typer.BadParameter("--with-bodies and --since are of a FILE: name one")
    _refuse_within(Home.from_path(settings_from(config, home=home).home), file, tiles)
    with open_log(home, config) as log:
        note = log.cosigned.merged(log.signed())
        with log.ledger.reading() as view:
            if tiles is not None:
                published = publish_tiles(view, note, log.key.public, tiles)
                print_line(
                    f"{tiles}: {published.checkpoint.size} passages, {published.files} new files"
                )
            if file is not None:
                cosigned = log.cosigned.notes(log.key.public)
                earlier = [*cosigned, *([read_note(since)] if since else [])]
                with atomic_writer(file) as out:
                    sums = export_log(view, note, log.key, out, earlier=earlier, bodies=with_bodies)
                print_line(f"{file}: {sums.size} passages, root {sums.root.hex()}")
        print_line(f"log key: {log.key.public.to_text()}")
        print_line(f"its fingerprint: {log.key.public.fingerprint}")


def _refuse_within(place: Home, *targets: Path | None) -> None:
    """An export in a home would take the place of what it needs."""
    for target in targets:
        if target is None:
            continue
        if target.resolve().is_relative_to(place.path.resolve()):
            raise typer.BadParameter(f"{target} lies in the home folder: name a place outside it")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise typer.BadParameter(f"{target} is neither a file nor a folder")


def key(home: HomeOption = None, config: ConfigOption = None) -> None:
    """Print the log's verifier key: whoever verifies is to have it from the device itself."""
    with open_log(home, config) as log:
        print_line(log.key.public.to_text())
        print_line(f"its fingerprint: {log.key.public.fingerprint}", err=True)


def receipt(
    index: Annotated[
        int | None, typer.Argument(metavar="INDEX", min=0, help="Of a passage, see `show`.")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    caption: Annotated[
        str | None, typer.Option(metavar="ID", help="All passages of a caption, by its id in hex.")
    ] = None,
) -> None:
    """Print receipts as JSON, one a line: proof that passages are in the log, see `verify`."""
    from ugsd_privacy.audit.receipts import Receipt
    from ugsd_privacy.tlog.checkpoint import open_checkpoint

    if (index is None) == (caption is None):
        raise typer.BadParameter("name an INDEX or --caption ID")
    try:
        wanted = bytes.fromhex(caption or "")
    except ValueError:
        raise typer.BadParameter("a caption's id is hex, see `ugsd audit show --json`") from None
    with open_log(home, config) as log:
        note = log.signed()
        signed = open_checkpoint(note, log.key.public)
        with log.ledger.reading() as view:
            indices = view.caption_leaves(wanted) if index is None else [index]
            if not indices or indices[-1] >= signed.size:
                fail("no such passage in the log; see `ugsd audit show`")
            for number in indices:
                print_json(Receipt.of(number, signed, note, view.node).model_dump_json())


def prove(
    earlier: Annotated[
        Path, typer.Option("--from", metavar="NOTE", help="An earlier checkpoint of this log.")
    ],
    later: Annotated[
        Path | None,
        typer.Option("--to", metavar="NOTE", help="A later one.  [default: the log as it is]"),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Print as JSON the proof that the log extends an earlier checkpoint, see `verify`."""
    from ugsd_privacy.audit.receipts import Consistency
    from ugsd_privacy.tlog.checkpoint import open_checkpoint
    from ugsd_privacy.tlog.note_files import read_note

    with open_log(home, config) as log:
        note = log.signed() if later is None else read_note(later)
        with log.ledger.reading() as view:
            if open_checkpoint(note, log.key.public).size > view.size():
                fail("rolled back: that checkpoint is of more passages than are here")
            proof = Consistency.of(read_note(earlier), note, log.key.public, view.node)
    print_json(proof.model_dump_json())


class OpenLog:
    """The log of a home, open."""

    def __init__(self, place: Home, ledger: Ledger, key: LogKey) -> None:
        from ugsd_privacy.audit.cosigned import CosignedNotes

        self.ledger = ledger
        self.key = key
        self.cosigned = CosignedNotes(place.cosigned)

    def signed(self) -> str:
        """A checkpoint of it as it is now."""
        from ugsd_privacy.audit.signing import LogSigner

        with self.ledger.signing() as log:
            return LogSigner(self.key).sign(log)[1]


@contextmanager
def open_log(home: Path | None, config: Path | None) -> Iterator[OpenLog]:
    """The log of the home that the options name; ends the command where nothing has left yet."""
    from ugsd_privacy.keys.log import LogKey

    from ugsd_sdk.home import Home

    place = Home.from_path(settings_from(config, home=home).home)
    if not place.is_used() or not place.log_key.exists():
        fail(f"no log at {place.ledger}: nothing has left yet from this home")
    with place.open_ledger() as ledger:
        yield OpenLog(place, ledger, LogKey.load(place.log_key))


def fail(message: str) -> NoReturn:
    """Say why, and end the command."""
    print_error("ugsd", message)
    raise typer.Exit(1)
