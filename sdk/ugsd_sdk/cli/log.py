"""``ugsd audit export``, ``key``, ``receipt`` and ``prove``: the log for others to verify."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from ugsd_privacy.output.terminal import print_error, print_json, print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, nothing_sent, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.keys.log import LogKey
    from ugsd_privacy.ledger import Ledger

    from ugsd_sdk.home import Home

__all__ = ["NoteOption", "OpenLog", "fail", "open_log", "register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

NoteOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--checkpoint",
        metavar="NOTE",
        help="A checkpoint stored elsewhere, which the log must extend; may be repeated.",
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
        typer.Argument(metavar="FILE", help="File that anyone can verify with `verify`."),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    tiles: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder for tiles and checkpoint, for any static file server."
        ),
    ] = None,
    since: Annotated[
        Path | None,
        typer.Option(
            metavar="NOTE", help="An earlier checkpoint; FILE proves that the log extends it."
        ),
    ] = None,
    with_bodies: Annotated[
        bool,
        typer.Option("--with-bodies", help="Include the records' sealed bodies in FILE."),
    ] = False,
) -> None:
    """Write the log so that others can verify it without this device.

    The export shows how much was sent and when, by hours; what was sent is only in the bodies.
    """
    from ugsd_privacy.audit.export import export_log
    from ugsd_privacy.audit.publishing import publish_tiles
    from ugsd_privacy.files.atomic_files import atomic_writer
    from ugsd_privacy.tlog.note_files import read_note

    from ugsd_sdk.home import Home

    if file is None and tiles is None:
        raise typer.BadParameter("give a FILE, or --tiles DIR, or both")
    if file is None and (with_bodies or since is not None):
        raise typer.BadParameter("--with-bodies and --since need a FILE: give one")
    _refuse_home(Home.from_path(settings_from(config, home=home).home), file, tiles)
    with open_log(home, config) as log:
        note = log.cosigned.merged(log.signed())
        with log.ledger.reading() as view:
            if tiles is not None:
                published = publish_tiles(view, note, log.key.public, tiles)
                print_line(
                    f"{tiles}: {published.checkpoint.size} records, {published.files} new files"
                )
            if file is not None:
                cosigned = log.cosigned.notes(log.key.public)
                earlier = [*cosigned, *([read_note(since)] if since else [])]
                with atomic_writer(file) as out:
                    sums = export_log(view, note, log.key, out, earlier=earlier, bodies=with_bodies)
                print_line(f"{file}: {sums.size} records, root {sums.root.hex()}")
        print_line(f"log key: {log.key.public.to_text()}")
        print_line(f"key fingerprint: {log.key.public.fingerprint}")


def _refuse_home(place: Home, *targets: Path | None) -> None:
    """Refuse a target in the home folder, where an export could overwrite the home's files."""
    for target in targets:
        if target is None:
            continue
        if target.resolve().is_relative_to(place.path.resolve()):
            raise typer.BadParameter(f"{target} is in the home folder: choose a path outside it")
        if target.exists() and not (target.is_file() or target.is_dir()):
            raise typer.BadParameter(f"{target} is neither a file nor a folder: choose another")


def key(home: HomeOption = None, config: ConfigOption = None) -> None:
    """Print the log's public key, which verifiers of the log should get from the device itself."""
    with open_log(home, config) as log:
        print_line(log.key.public.to_text())
        print_line(f"key fingerprint: {log.key.public.fingerprint}", err=True)


def receipt(
    index: Annotated[
        int | None, typer.Argument(metavar="INDEX", min=0, help="Index of a record, see `show`.")
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    caption: Annotated[
        str | None, typer.Option(metavar="ID", help="All records of the caption with this id.")
    ] = None,
) -> None:
    """Print receipts as JSON lines: proofs that records are in the log, for `verify`."""
    from ugsd_privacy.audit.receipts import Receipt
    from ugsd_privacy.tlog.checkpoint import open_checkpoint

    if (index is None) == (caption is None):
        raise typer.BadParameter("give either an INDEX or --caption ID")
    try:
        caption_id = bytes.fromhex(caption or "")
    except ValueError:
        raise typer.BadParameter(
            "a caption's id is hexadecimal: see `ugsd audit show --json`"
        ) from None
    with open_log(home, config) as log:
        note = log.signed()
        signed = open_checkpoint(note, log.key.public)
        with log.ledger.reading() as view:
            indices = view.caption_leaves(caption_id) if index is None else [index]
            if not indices or indices[-1] >= signed.size:
                fail("the log has no such record: `ugsd audit show` lists the records")
            for number in indices:
                print_json(Receipt.of(number, signed, note, view.node).model_dump_json())


def prove(
    earlier: Annotated[
        Path, typer.Option("--from", metavar="NOTE", help="An earlier checkpoint of this log.")
    ],
    later: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="NOTE", help="A later checkpoint.  [default: the log as it is]"
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the proof as JSON that the log extends an earlier checkpoint, for `verify`."""
    from ugsd_privacy.audit.receipts import Consistency
    from ugsd_privacy.tlog.checkpoint import open_checkpoint
    from ugsd_privacy.tlog.note_files import read_note

    with open_log(home, config) as log:
        note = log.signed() if later is None else read_note(later)
        with log.ledger.reading() as view:
            if open_checkpoint(note, log.key.public).size > view.size():
                fail("rolled back: that checkpoint covers more records than this log has")
            proof = Consistency.of(read_note(earlier), note, log.key.public, view.node)
    print_json(proof.model_dump_json())


class OpenLog:
    """The open log of a home."""

    def __init__(self, place: Home, ledger: Ledger, key: LogKey) -> None:
        from ugsd_privacy.audit.cosigned import CosignedNotes

        self.ledger = ledger
        self.key = key
        self.cosigned = CosignedNotes(place.cosigned)

    def signed(self) -> str:
        """Return a signed checkpoint of the log as it is now."""
        from ugsd_privacy.audit.signing import LogSigner

        with self.ledger.signing() as log:
            return LogSigner(self.key).sign(log)[1]


@contextmanager
def open_log(home: Path | None, config: Path | None) -> Iterator[OpenLog]:
    """Open the log of the home that the options name. End the command if there is no log."""
    from ugsd_privacy.keys.log import LogKey

    from ugsd_sdk.home import Home

    place = Home.from_path(settings_from(config, home=home).home)
    if not place.is_used():
        fail(nothing_sent(place))
    with place.open_ledger() as ledger:  # refuses a log whose key was lost
        if not place.log_key.exists():
            fail(nothing_sent(place))
        yield OpenLog(place, ledger, LogKey.load(place.log_key))


def fail(message: str) -> NoReturn:
    """Print the error, and end the command."""
    print_error("ugsd", message)
    raise typer.Exit(1)
