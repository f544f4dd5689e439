"""``ugsd audit export``: the log for others to verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.audit.open_log import open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption, settings_from

if TYPE_CHECKING:
    from ugsd_sdk.home import Home

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("export", epilog="Example: ugsd audit export log.ugsd --tiles public/log")(export)


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
    """Write the log so that others can verify it.

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
