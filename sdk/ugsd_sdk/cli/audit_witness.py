"""``ugsd audit cosign`` and ``witness``: have checkpoints cosigned, by files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.log import OpenLog, fail, open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_OK = 200


def register(audit: typer.Typer) -> None:
    """Add the commands to ``ugsd audit``."""
    audit.command(
        "cosign", epilog="Example: ugsd audit cosign --witness-key witness.pub --request ask"
    )(cosign)
    audit.command(
        "witness",
        epilog="Example: ugsd audit witness --state w --log-key log.pub --request ask "
        "--response answer",
    )(witness)


def cosign(
    witness_key: Annotated[
        str, typer.Option(metavar="KEY", help="The witness's public key, or a file that holds it.")
    ],
    request: Annotated[
        Path, typer.Option(metavar="FILE", help="Request to write, for the witness.")
    ],
    response: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The witness's answer to the request."),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a witness cosign the log: write a request, or read the answer to it.

    The device makes no connection: send the request by any means, for example with
    `curl --data-binary @ask https://witness/add-checkpoint > answer`.
    """
    from ugsd_privacy.keys.witness import WitnessPublicKey

    public = WitnessPublicKey.load(witness_key)
    with open_log(home, config) as log:
        if response is None:
            _write_request(log, request, log.cosigned.latest(public, log.key.public))
            return
        from ugsd_privacy.audit.cosigned import accept_cosignature
        from ugsd_privacy.files.atomic_files import read_bounded
        from ugsd_privacy.tlog.checkpoint import open_checkpoint
        from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
        from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, AddCheckpoint

        asked = AddCheckpoint.from_bytes(read_bounded(request, MAX_REQUEST_BYTES))
        answer = read_bounded(response, MAX_NOTE_BYTES)
        accepted = accept_cosignature(answer, asked, public, log.key.public)
        if isinstance(accepted, int):
            _write_request(log, request, accepted)
            fail(f"the witness has cosigned {accepted} records: send it {request} once more")
        stored = log.cosigned.store(accepted, public, log.key.public)
        size = open_checkpoint(accepted, log.key.public).size
        if stored.size > size:
            print_line(
                f"{public.name} cosigned {stored.size} records later; the later cosignature is kept"
            )
            return
        print_line(
            f"{public.name} cosigned {size} records; `ugsd audit verify --witness-key` checks it"
        )


def witness(
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="State of this witness; created with its key.")
    ],
    log_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Public key of a log to witness, or a file; may be repeated."
        ),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A device's request.  [default: only print the key]"),
    ] = None,
    response: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Answer to write, for the device.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its private key.  [default: witness.key in --state]"),
    ] = None,
) -> None:
    """Act as a witness, by files: cosign a log that extends what was cosigned before.

    Without --request it only prints the witness's public key, which devices need, and creates the
    key if there is none. Do not run it on the device itself. `ugsd-server witness` does the same
    over HTTP.
    """
    from ugsd_privacy.files.atomic_files import read_bounded, write_atomically
    from ugsd_privacy.keys.log import LogPublicKey
    from ugsd_privacy.keys.witness import open_witness
    from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, Witness

    if request is None and response is not None:
        raise typer.BadParameter("--response needs a --request: give it too")
    if request is not None and (response is None or not log_key):
        raise typer.BadParameter("--request needs --response and --log-key: give them too")
    key, store = open_witness(state, key_file)
    print_line(key.public.to_text())
    print_line(f"public key of witness {key.public.name}", err=True)
    if request is None or response is None:
        return
    asked = read_bounded(request, MAX_REQUEST_BYTES)
    answer = Witness(key, map(LogPublicKey.load, log_key or []), store).add_checkpoint(asked)
    if answer.status == _OK or answer.is_size:
        write_atomically(response, answer.body)
    text = answer.body.decode().strip()
    if answer.is_size:
        fail(f"this witness has cosigned {text} records of that log: send {response} to the device")
    if answer.status != _OK:
        fail(f"refused ({answer.status}): {text}")
    print_line(f"{response}: cosigned")


def _write_request(log: OpenLog, request: Path, old: str | int | None) -> None:
    from ugsd_privacy.audit.cosigned import cosign_request
    from ugsd_privacy.files.atomic_files import write_atomically

    note = log.signed()
    with log.ledger.reading() as view:
        asked = cosign_request(view, note, log.key.public, old)
    write_atomically(request, asked.to_bytes())
    print_line(f"{request}: send it to the witness; it continues from {asked.old_size} records")
