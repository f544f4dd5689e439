"""``ugsd audit``: what left this device, and the proof of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ugsd_sdk.cli import log, verifying, witnessing
from ugsd_sdk.cli.options import ConfigOption, HomeOption, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.audit.records import EgressRecord
    from ugsd_privacy.audit.verify import LogSummary
    from ugsd_privacy.errors import LogTampered
    from ugsd_privacy.ledger import Ledger

    from ugsd_sdk.home import Home

__all__ = ["register", "verified"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_AUDIT_EPILOG = """Examples:

\b
  ugsd audit show
  ugsd audit show --json --home ~/.ugsd
  ugsd audit verify
  ugsd audit export log.ugsd
  ugsd audit verify log.ugsd
"""

_REMEDY = "restore a backup, or move the home folder away to start anew"

_JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    audit = typer.Typer(
        no_args_is_help=True, help="Read and verify the log of what left.", epilog=_AUDIT_EPILOG
    )
    audit.command("show", epilog="Example: ugsd audit show --json")(show)
    for group in (verifying, log, witnessing):
        group.register(audit)
    app.add_typer(audit, name="audit")


def show(
    home: HomeOption = None, config: ConfigOption = None, *, as_json: _JsonOption = False
) -> None:
    """List every passage out of this device, as the log has it; `verify` proves it."""
    from ugsd_sdk.home import Home

    place = Home.at(settings_from(config, home=home).home)
    if not place.is_used():
        if not as_json:
            typer.echo(_nothing_left(place))
        return
    with place.open_ledger() as ledger:
        records, faults = _records(ledger)
    if as_json:
        for index, record in records:
            typer.echo(json.dumps({"index": index} | json.loads(_record_json(record))))
    else:
        _print_records(records)
    for index, fault in faults:
        typer.echo(f"ugsd: record {index} in {ledger.path} is damaged: {fault}", err=True)
    if faults:
        typer.echo(f"ugsd: {_REMEDY}", err=True)
        raise typer.Exit(1)


def describe(summary: LogSummary) -> str:
    """The outcome of a verification, in words."""
    total = summary.total
    return (
        f"the log verifies: {summary.size} passages ({total.blocks} blocks, {total.tokens} tokens, "
        f"{total.bytes} bytes), {summary.checkpoints} signed checkpoints, "
        f"root {summary.root.hex()[:16]}"
    )


def verified(place: Home, *, trusted: Iterable[str] = ()) -> LogSummary | None:
    """Verify the log of a home, which extends the checkpoints ``trusted``; ``None`` where nothing
    has left yet.

    Raises ``LogTampered``, ``LedgerError`` or ``KeyFileError``.
    """
    from ugsd_privacy.audit.verify import verify_log
    from ugsd_privacy.keys import LogKey

    if not place.is_used():
        return None
    with place.open_ledger() as ledger:
        if not place.log_key.exists():  # it has no leaves: none is made before the key
            return None
        return verify_log(ledger, LogKey.load(place.log_key).public, trusted=trusted)


def _nothing_left(place: Home) -> str:
    return f"no log at {place.ledger}: nothing has left yet from this home"


def _records(
    ledger: Ledger,
) -> tuple[list[tuple[int, EgressRecord]], list[tuple[int, LogTampered]]]:
    """The records that can be read, and what is wrong with the others, by index."""
    from ugsd_privacy.audit.records import decode_record
    from ugsd_privacy.errors import LogTampered

    sound, faults = [], []
    with ledger.reading() as view:
        for row in view.rows():
            try:
                sound.append((row.leaf, decode_record(row.body)))
            except LogTampered as fault:
                faults.append((row.leaf, fault))
    return sound, faults


def _record_json(record: EgressRecord) -> str:
    fields = record.model_dump(mode="python")
    plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
    return json.dumps(plain)


def _print_records(records: list[tuple[int, EgressRecord]]) -> None:
    from rich.table import Table

    from ugsd_sdk.cli.show import stdout

    table = Table(box=None, pad_edge=False)
    for name in ("passage", "time (UTC)", "user", "kind", "discloses", "tokens", "states", "bytes"):
        table.add_column(name, justify="right" if name in {"tokens", "states", "bytes"} else "left")
    table.add_column("sealed for")
    for index, record in records:
        table.add_row(
            str(index),
            datetime.fromtimestamp(record.time_s, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            record.user,
            f"reset: {', '.join(record.resets)}" if record.resets else record.kind,
            "" if record.disclosure is None else str(record.disclosure),
            str(len(record.prefix) + len(record.tokens)),
            f"{len(record.state_positions)} x {record.state_dim}" if record.state_dim else "",
            str(record.frame_bytes),
            record.verifier.split("-")[0],
        )
    stdout().print(table)
