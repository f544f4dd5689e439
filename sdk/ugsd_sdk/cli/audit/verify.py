"""``ugsd audit verify``: verify this home's log, or an export, receipt or proof from anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.plain_text import plain_line
from ugsd_privacy.output.terminal import print_error, print_line

from ugsd_sdk.cli.audit.open_log import NoteOption, fail
from ugsd_sdk.cli.options import (
    ConfigOption,
    HomeOption,
    OwnerKeyOption,
    nothing_sent,
    settings_from,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ugsd_privacy.audit.offline import ExportSummary
    from ugsd_privacy.audit.receipts import Consistency, Receipt
    from ugsd_privacy.audit.verify import LogSummary
    from ugsd_privacy.keys.log import LogPublicKey
    from ugsd_privacy.keys.witness import WitnessPublicKey

    from ugsd_sdk.home import Home

__all__ = ["REMEDY", "WitnessKeyOption", "describe", "is_json", "register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

REMEDY = "restore a backup, or move the home folder away to start again"
_MAX_JSON_BYTES = 16 * 2**20
_MAX_PROOF_ITEMS = 128
"""The hashes of the longest proof and the other fields."""
_SECONDS_PER_HOUR = 3600
_LEADING_BYTES = 64

_LogKeyOption = Annotated[
    str | None,
    typer.Option("--log-key", metavar="KEY", help="The log's public key, or a file that holds it."),
]
WitnessKeyOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness-key",
        metavar="KEY",
        help="Public key of a witness that must have cosigned, or a file; may be repeated.",
    ),
]


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("verify", epilog="Example: ugsd audit verify log.ugsd --log-key log.pub")(verify)


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="An export, a folder of tiles, receipts or a proof to verify instead of this "
            "home; needs neither the device nor its home.",
        ),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    log_key: _LogKeyOption = None,
    checkpoint: NoteOption = None,
    witness_key: WitnessKeyOption = None,
    owner_key: OwnerKeyOption = None,
) -> None:
    """Verify the whole log.

    Every record, charge, hash and signed checkpoint is recomputed.
    """
    from ugsd_privacy.errors import LogOfAnotherVersion, LogTampered
    from ugsd_privacy.keys.log import LogPublicKey
    from ugsd_privacy.keys.witness import WitnessPublicKey

    public = None if log_key is None else LogPublicKey.load(log_key)
    witnesses = [WitnessPublicKey.load(key) for key in witness_key or []]
    trusted = [_read_checkpoint(path) for path in checkpoint or []]
    proofs = file is not None and not file.is_dir() and _holds_proofs(file)
    if file is not None and owner_key is not None:
        raise typer.BadParameter("--owner-key opens the bodies of a home: leave it out for a FILE")
    if proofs and (trusted or witnesses):
        raise typer.BadParameter("receipts and proofs take neither --checkpoint nor --witness-key")
    try:
        if file is None:
            _verify_home(_place(home, config), public, trusted, witnesses, owner_key)
        elif proofs:
            _verify_proofs(file, public or _own_key(_place(home, config)))
        elif file.is_dir():
            _verify_tiles(file, public, trusted, witnesses)
        else:
            _verify_export(file, public, trusted, witnesses)
    except LogOfAnotherVersion as error:
        print_error(
            "ugsd",
            f"the log was written by another release and cannot be read by this one: {error}",
        )
        raise typer.Exit(1) from None
    except LogTampered as error:
        print_error("ugsd", f"the log does NOT verify: {error}")
        if file is None:
            print_error("ugsd", f"the log is in {_place(home, config).ledger}: {REMEDY}")
        raise typer.Exit(1) from None


def _read_checkpoint(path: Path) -> str:
    """Read a checkpoint without verifying it. A wrong path is a usage error, not tampering."""
    from ugsd_privacy.errors import LogTampered
    from ugsd_privacy.tlog.checkpoint import note_signatures
    from ugsd_privacy.tlog.note_files import read_note

    try:
        note = read_note(path)
        note_signatures(note)
    except LogTampered as error:
        raise typer.BadParameter(f"--checkpoint {path}: {error}") from None
    return note


def _place(home: Path | None, config: Path | None) -> Home:
    from ugsd_sdk.home import Home

    return Home.from_path(settings_from(config, home=home).home)


def _own_key(place: Home) -> LogPublicKey:
    from ugsd_privacy.keys.log import LogKey

    if not place.log_key.exists():
        fail("a receipt does not contain the log's key: give it with --log-key")
    print_line(f"verifying with the key of this home's log, {place.log_key}")
    return LogKey.load(place.log_key).public


def _verify_home(
    place: Home,
    public: LogPublicKey | None,
    trusted: list[str],
    witnesses: list[WitnessPublicKey],
    owner_key: Path | None,
) -> None:
    from ugsd_privacy.audit.cosigned import CosignedNotes
    from ugsd_privacy.errors import LogTampered
    from ugsd_privacy.keys.log import LogKey
    from ugsd_privacy.tlog.checkpoint import open_checkpoint
    from ugsd_privacy.tlog.cosignature import verify_cosigned

    from ugsd_sdk.cli.progress import progress_bar
    from ugsd_sdk.reports.verification import open_view, owner_of, verify_home

    with open_view(place) as view, progress_bar("verifying") as progress:
        owner = owner_of(place, owner_key)
        summary = verify_home(place, view, owner=owner, trusted=trusted, progress=progress)
    if summary is None:
        if witnesses:
            raise LogTampered("this home has no log that a witness could have cosigned")
        print_line(nothing_sent(place))
        return
    own = LogKey.load(place.log_key).public
    if public is not None and public.to_text() != own.to_text():
        raise LogTampered(f"the log belongs to {own.origin}, not to {public.origin}")
    notes = [*trusted, *CosignedNotes(place.cosigned).notes(own)]
    witnessed = verify_cosigned(notes, witnesses, lambda note: open_checkpoint(note, own))
    print_line(describe(summary))
    _print_witnesses(witnessed, summary.size)


def _verify_export(
    file: Path,
    public: LogPublicKey | None,
    trusted: list[str],
    witnesses: list[WitnessPublicKey],
) -> None:
    from ugsd_privacy.audit.offline import verify_export
    from ugsd_privacy.files.bounded_files import open_regular

    with open_regular(file) as stream:
        summary = verify_export(stream, public, trusted=trusted, witnesses=witnesses)
    print_line(*_describe_export(summary).split("\n"))
    _print_witnesses(summary.witnessed, summary.size)
    if public is None:
        print_line(
            "The key came from the file itself, so this proves no more than the file: compare the "
            f"fingerprint {summary.public.fingerprint} with the device's, or give --log-key."
        )


def describe(summary: LogSummary) -> str:
    """Describe a successful verification in a sentence."""
    total = summary.total
    erased = f", {summary.erased} erased by owner" if summary.erased else ""
    unread = (
        f"; not read without the owner's key: {summary.unread}, whose times, captions and epsilon "
        "are taken from their charges (give --owner-key FILE)"
        if summary.unread
        else ""
    )
    unsigned = (
        f"; the last {summary.unsigned} are under no signed checkpoint yet and exist only on this "
        "device"
        if summary.unsigned
        else ""
    )
    return (
        f"the log verifies: {summary.size} records ({total.blocks} blocks, {total.tokens} tokens, "
        f"{total.bytes} bytes), {summary.checkpoints} signed checkpoints, "
        f"root {summary.root.hex()[:16]}{erased}{unread}{unsigned}"
    )


def _verify_tiles(
    folder: Path,
    public: LogPublicKey | None,
    trusted: list[str],
    witnesses: list[WitnessPublicKey],
) -> None:
    from ugsd_privacy.audit.tiles_folder import verify_tiles

    if not (folder / "checkpoint").exists():
        fail(f"{folder} holds no checkpoint: give an export or a folder of tiles")
    summary = verify_tiles(folder, public, trusted=trusted, witnesses=witnesses)
    print_line(
        f"the log verifies: {summary.size} records ({summary.blocks} blocks, {summary.tokens} "
        f"tokens, {summary.frame_bytes} bytes)",
        f"root {summary.root.hex()}",
    )
    _print_witnesses(summary.witnessed, summary.size)
    if public is None:
        print_line(
            f"Its checkpoint names the log {plain_line(summary.origin)}. The folder holds no key, "
            "so no signature was checked: give --log-key, which `ugsd audit key` prints on the "
            "device."
        )


def _describe_export(summary: ExportSummary) -> str:
    hours = [
        datetime.fromtimestamp(hour * _SECONDS_PER_HOUR, UTC).strftime("%Y-%m-%d %H:00")
        for hour in summary.hours
    ]
    span = (
        f", from {hours[0]} to the hour of {hours[-1]} UTC by the device's clock" if hours else ""
    )
    bodies = (
        "without their bodies"
        if summary.bodies is None
        else f"with {summary.bodies} of their bodies, sealed"
    )
    return (
        f"the log verifies: {summary.size} records ({summary.blocks} blocks, {summary.tokens} "
        f"tokens, {summary.frame_bytes} bytes) {bodies}{span}\n"
        f"root {summary.root.hex()}, {summary.checkpoints} signed checkpoints\n"
        f"log key: {summary.public.to_text()}"
    )


def _print_witnesses(witnessed: Mapping[str, tuple[int, int]], size: int) -> None:
    for name, (cosigned, time_s) in witnessed.items():
        when = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
        print_line(f"{name} cosigned {cosigned} of the {size} records at {when} UTC")


def _holds_proofs(file: Path) -> bool:
    """Whether the file holds receipts or a proof. End the command if it cannot be read."""
    try:
        return is_json(file)
    except OSError as error:
        fail(f"cannot read {file}: {error.strerror}: check the path and its permissions")


def is_json(file: Path) -> bool:
    """Whether the file's first character is that of a JSON object. Raises :class:`OSError`."""
    from ugsd_privacy.files.bounded_files import open_regular

    with open_regular(file) as stream:
        return stream.read(_LEADING_BYTES).lstrip()[:1] == b"{"


def _verify_proofs(file: Path, public: LogPublicKey) -> None:
    from ugsd_privacy.audit.receipts import Receipt
    from ugsd_privacy.files.atomic_files import read_bounded

    for line in filter(None, map(bytes.strip, read_bounded(file, _MAX_JSON_BYTES).splitlines())):
        proof = _proof_of(line)
        if isinstance(proof, Receipt):
            proof.verify(public)
            print_line(f"record {proof.index} is in the log of {proof.tree_size} records")
        else:
            earlier, later = proof.verify(public)
            print_line(f"the log of {later} records extends the log of {earlier} records")


def _proof_of(line: bytes) -> Receipt | Consistency:
    from pydantic import TypeAdapter
    from ugsd_privacy.audit.receipts import Consistency, Receipt
    from ugsd_privacy.bounded_json import read_json
    from ugsd_privacy.errors import LogTampered

    either: TypeAdapter[Receipt | Consistency] = TypeAdapter(Receipt | Consistency)
    try:
        return read_json(either, line, max_items=_MAX_PROOF_ITEMS)
    except ValueError:
        raise LogTampered("the file holds neither a receipt nor a proof") from None
