"""``ugsd audit receipt``: proofs that records are in the log."""

from __future__ import annotations

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
    audit.command("receipt", epilog="Example: ugsd audit receipt 7 > receipt.json")(receipt)


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
    """Print receipts, which prove that records are logged.

    They are JSON lines, which `verify` reads.
    """
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
