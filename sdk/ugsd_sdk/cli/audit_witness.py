"""``ugsd audit cosign`` and ``witness``: checkpoints that someone else saw, carried as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.log import OpenLog, fail, open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
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
        str, typer.Option(metavar="KEY", help="The witness's verifier key, or a file with it.")
    ],
    request: Annotated[
        Path, typer.Option(metavar="FILE", help="Written, to be carried to the witness.")
    ],
    response: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What the witness answered to the request."),
    ] = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Have a witness cosign the log: write a request, or take in the answer to it.

    The device connects to nobody: carry the request as you like, say
    `curl --data-binary @ask https://witness/add-checkpoint > answer`.
    """
    from ugsd_privacy.keys.witness import WitnessPublicKey

    public = WitnessPublicKey.load(witness_key)
    with open_log(home, config) as log:
        if response is None:
            _ask(log, request, log.cosigned.latest(public, log.key.public))
            return
        from ugsd_privacy.audit.cosigned import accept_cosignature
        from ugsd_privacy.files.atomic_files import read_bounded
        from ugsd_privacy.tlog.checkpoint import open_checkpoint
        from ugsd_privacy.tlog.note_files import MAX_NOTE_BYTES
        from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, AddCheckpoint

        asked = AddCheckpoint.from_bytes(read_bounded(request, MAX_REQUEST_BYTES))
        answer = read_bounded(response, MAX_NOTE_BYTES)
        taken = accept_cosignature(answer, asked, public, log.key.public)
        if isinstance(taken, int):
            _ask(log, request, taken)
            fail(f"the witness is at {taken} passages: carry {request} to it once more")
        kept = log.cosigned.store(taken, public, log.key.public)
        size = open_checkpoint(taken, log.key.public).size
        if kept.size > size:
            print_line(f"{public.name} cosigned {kept.size} passages later, which are kept")
            return
        print_line(
            f"{public.name} cosigned {size} passages; `ugsd audit verify --witness-key` checks it"
        )


def witness(
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="What this witness cosigned; made with its key.")
    ],
    log_key: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Of a log to witness, or a file; may be repeated."),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What a device asked.  [default: only print the key]"),
    ] = None,
    response: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Written, to be carried back.")
    ] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its private key.  [default: witness.key in --state]"),
    ] = None,
) -> None:
    """Be a witness, by files: cosign a log that extends what was cosigned before.

    Without --request it only prints the witness's key, which devices need to ask, and makes it
    where there is none. Run it elsewhere than the device. `ugsd-server witness` does the same over
    HTTP.
    """
    from ugsd_privacy.files.atomic_files import read_bounded, write_atomically
    from ugsd_privacy.keys.log import LogPublicKey
    from ugsd_privacy.keys.witness import open_witness
    from ugsd_privacy.tlog.witness import MAX_REQUEST_BYTES, Witness

    if request is None and response is not None:
        raise typer.BadParameter("--response is to a --request; name it")
    if request is not None and (response is None or not log_key):
        raise typer.BadParameter("a --request needs --response and --log-key too")
    key, kept = open_witness(state, key_file)
    print_line(f"witness key: {key.public.to_text()}")
    if request is None or response is None:
        return
    asked = read_bounded(request, MAX_REQUEST_BYTES)
    answer = Witness(key, map(LogPublicKey.load, log_key or []), kept).add_checkpoint(asked)
    if answer.status == _OK or answer.is_size:
        write_atomically(response, answer.body)
    words = answer.body.decode().strip()
    if answer.is_size:
        fail(f"this witness is at {words} passages of that log: {response} says so")
    if answer.status != _OK:
        fail(f"refused ({answer.status}): {words}")
    print_line(f"{response}: cosigned")


def _ask(log: OpenLog, request: Path, old: str | int | None) -> None:
    from ugsd_privacy.audit.cosigned import cosign_request
    from ugsd_privacy.files.atomic_files import write_atomically

    note = log.signed()
    with log.ledger.reading() as view:
        asked = cosign_request(view, note, log.key.public, old)
    write_atomically(request, asked.to_bytes())
    print_line(f"{request}: carry it to the witness, from {asked.old_size} passages on")
