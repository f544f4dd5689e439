"""``ugsd audit show``: the records of the log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ugsd_privacy.output.terminal import print_error, print_json, print_line

from ugsd_sdk.cli.audit.record_content import content_lines, content_of, words_of
from ugsd_sdk.cli.audit.verify import REMEDY
from ugsd_sdk.cli.options import (
    ConfigOption,
    HomeOption,
    JsonLinesOption,
    OwnerKeyOption,
    nothing_sent,
    settings_from,
)

if TYPE_CHECKING:
    from ugsd_privacy.audit.bodies import BodyUnavailable
    from ugsd_privacy.audit.records import EgressRecord
    from ugsd_privacy.errors import LogTampered
    from ugsd_privacy.keys.owner import OwnerKey
    from ugsd_privacy.ledger import Ledger, LedgerRow
    from ugsd_privacy.reports.readings import ReadState

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_LAST_HOUR = 70_389_528  # the end of the year 9999
_HOW_TO_READ = "{count} records are sealed to the owner's key: give --owner-key FILE to read them"


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("show", epilog="Example: ugsd audit show --json")(show)


def show(
    home: HomeOption = None,
    config: ConfigOption = None,
    owner_key: OwnerKeyOption = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Vocabulary for the words.")
    ] = None,
    drafter: Annotated[
        str,
        typer.Option(
            metavar="starter|free|DIR",
            help="Drafter that made the states; its network interprets them.",
        ),
    ] = "starter",
    *,
    content: Annotated[
        bool, typer.Option("--content", help="Print exactly what was sent, all numbers included.")
    ] = False,
    as_json: JsonLinesOption = False,
) -> None:
    """List the records of what was sent, when, and how much.

    `verify` proves that they are complete and unchanged.
    """
    from ugsd_sdk.home import Home
    from ugsd_sdk.reports.state_readings import state_reader
    from ugsd_sdk.reports.verification import owner_of

    place = Home.from_path(settings_from(config, home=home).home)
    if not place.is_used():
        if not as_json:
            print_line(nothing_sent(place))
        return
    with place.open_ledger() as ledger:
        records, faults = _records(ledger, owner_of(place, owner_key))
    warn = partial(print_error, "ugsd")
    readable = (words_of(vocabulary), state_reader(drafter, warn)) if content else None
    if as_json:
        for row, record in records:
            print_json(_json_line(row, record, readable))
    else:
        _print_records(records)
        if readable is not None:
            _print_content(records, *readable)
    sealed = sum(record == "sealed" for _, record in records)
    if sealed:
        print_error("ugsd", _HOW_TO_READ.format(count=sealed))
    for index, fault in faults:
        print_error("ugsd", f"record {index} in {ledger.path} is damaged: {fault}")
    if faults:
        print_error("ugsd", REMEDY)
        raise typer.Exit(1)


def _records(
    ledger: Ledger, owner: OwnerKey | None
) -> tuple[list[tuple[LedgerRow, EgressRecord | BodyUnavailable]], list[tuple[int, LogTampered]]]:
    """Return the rows with their records, or the reason why a record is unreadable, and the faults
    of damaged rows."""
    from ugsd_privacy.audit.bodies import BodyReader
    from ugsd_privacy.errors import LogTampered

    readable, faults = [], []
    with ledger.reading() as view:
        reader = BodyReader(view, owner)
        for row in view.rows():
            try:
                readable.append((row, reader.record(row)))
            except LogTampered as fault:
                faults.append((row.leaf, fault))
    return readable, faults


def _json_line(
    row: LedgerRow,
    record: EgressRecord | BodyUnavailable,
    readable: tuple[Sequence[str], ReadState] | None,
) -> str:
    """Return a record as a line of JSON, with its content if words and readings are given."""
    fields: dict[str, Any]
    if isinstance(record, str):
        fields = {"body": str(record)} | row._asdict()
        del fields["leaf"], fields["content"], fields["sealed"]
    else:
        fields = record.model_dump(mode="python", exclude={"message"})
        for name in ("slot", "continue_to"):
            asked = getattr(record, name)
            fields[name] = None if asked is None else asked.name.lower()
        if readable is not None:
            fields["content"] = content_of(record, *readable)
    plain = {k: v.hex() if isinstance(v, bytes) else v for k, v in fields.items()}
    return json.dumps({"index": row.leaf} | plain)


def _print_content(
    records: list[tuple[LedgerRow, EgressRecord | BodyUnavailable]],
    words: Sequence[str],
    read_state: ReadState,
) -> None:
    for row, record in records:
        content = None if isinstance(record, str) else content_of(record, words, read_state)
        for line in () if content is None else content_lines(row.leaf, content):
            print_line(line)


def _unreadable_cells(row: LedgerRow, reason: str) -> tuple[str, ...]:
    """Return what the ledger holds in plain text about an unreadable record, with its hour."""
    hour = row.hour or 0
    when = (
        "no time"
        if not 0 <= hour < _LAST_HOUR
        else (datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H:..:.."))
    )
    return (
        str(row.leaf),
        when,
        row.user or "",
        reason,
        "",
        str(row.tokens),
        "",
        str(row.bytes),
        "",
    )


def _print_records(records: list[tuple[LedgerRow, EgressRecord | BodyUnavailable]]) -> None:
    from rich.table import Table

    from ugsd_sdk.cli.caption_output import stdout

    table = Table(box=None, pad_edge=False)
    for name in ("record", "time (UTC)", "user", "kind", "disclosure", "tokens", "states", "bytes"):
        table.add_column(name, justify="right" if name in {"tokens", "states", "bytes"} else "left")
    table.add_column("sealed for")
    for row, record in records:
        if isinstance(record, str):
            table.add_row(*_unreadable_cells(row, str(record)))
            continue
        table.add_row(
            str(row.leaf),
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
