"""``ugsd audit prove``: the proof that the log extends an earlier checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_json

from ugsd_sdk.cli.audit.open_log import fail, open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    epilog = "Example: ugsd audit prove --from earlier.note > proof.json"
    audit.command("prove", epilog=epilog)(prove)


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
    """Print, as JSON, the proof that the log only grew.

    `verify` reads it. It proves that the log extends an earlier checkpoint.
    """
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
