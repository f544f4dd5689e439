"""``ugsd audit witness``: cosign the logs of others, by files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.audit.open_log import fail

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_OK = 200


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    epilog = (
        "Example: ugsd audit witness --state w --log-key log.pub --request ask --response answer"
    )
    audit.command("witness", epilog=epilog)(witness)


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
    """Act as a witness that exchanges files.

    It cosigns a log that extends what it cosigned before. Without --request it only prints the
    witness's public key, which devices need, and creates the key if there is none. Do not run it on
    the device itself. `ugsd-server witness` does the same over HTTP.
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
