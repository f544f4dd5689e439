"""``ugsd audit cosign`` and ``witness``: checkpoints that someone else saw, carried as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ugsd_sdk.cli.log import OpenLog, fail, open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]

# Heavy imports wait inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_OK, _CONFLICT = 200, 409


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
    from ugsd_privacy.audit.cosignature import WitnessPublicKey

    public = WitnessPublicKey.load(witness_key)
    with open_log(home, config) as log:
        if response is None:
            _ask(log, request, log.cosigned.latest(public))
            return
        from ugsd_privacy.audit.cosigned import take_answer
        from ugsd_privacy.audit.whole_files import MAX_NOTE_BYTES, read_bytes
        from ugsd_privacy.audit.witness import MAX_REQUEST_BYTES, AddCheckpoint

        asked = AddCheckpoint.from_bytes(read_bytes(request, MAX_REQUEST_BYTES))
        answer = read_bytes(response, MAX_NOTE_BYTES)
        taken = take_answer(answer, asked, public, log.key.public)
        if isinstance(taken, int):
            _ask(log, request, taken)
            fail(f"the witness is at {taken} passages: carry {request} to it once more")
        log.cosigned.keep(taken, public, log.key.public)
        typer.echo(f"{public.name} cosigned the log; `ugsd audit verify --witness-key` checks it")


def witness(
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="What this witness cosigned; made with its key.")
    ],
    log_key: Annotated[
        list[str],
        typer.Option(metavar="KEY", help="Of a log to witness, or a file; may be repeated."),
    ],
    request: Annotated[Path, typer.Option(metavar="FILE", help="What a device asked.")],
    response: Annotated[Path, typer.Option(metavar="FILE", help="Written, to be carried back.")],
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its private key.  [default: witness.key in --state]"),
    ] = None,
) -> None:
    """Be a witness, by files: cosign a log that extends what was cosigned before.

    Run it elsewhere than the device. `ugsd-server witness` does the same over HTTP.
    """
    from ugsd_privacy.audit.whole_files import read_bytes, write_whole
    from ugsd_privacy.audit.witness import MAX_REQUEST_BYTES, Witness, open_witness
    from ugsd_privacy.keys import LogPublicKey

    key, kept = open_witness(state, key_file)
    typer.echo(f"witness key: {key.public.to_text()}")
    asked = read_bytes(request, MAX_REQUEST_BYTES)
    answer = Witness(key, map(LogPublicKey.load, log_key), kept).add_checkpoint(asked)
    if answer.status in {_OK, _CONFLICT}:
        write_whole(response, answer.body)
    words = answer.body.decode().strip()
    if answer.status == _CONFLICT:
        fail(f"this witness is at {words} passages of that log: {response} says so")
    if answer.status != _OK:
        fail(f"refused ({answer.status}): {words}")
    typer.echo(f"{response}: cosigned")


def _ask(log: OpenLog, request: Path, old: str | int | None) -> None:
    from ugsd_privacy.audit.cosigned import cosign_request
    from ugsd_privacy.audit.whole_files import write_whole

    note = log.signed()
    with log.ledger.reading() as view:
        asked = cosign_request(view, note, log.key.public, old)
    write_whole(request, asked.to_bytes())
    typer.echo(f"{request}: carry it to the witness, from {asked.old_size} passages on")
