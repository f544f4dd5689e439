"""``ugsd audit cosign``: have a witness cosign the log, by files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.audit.open_log import OpenLog, fail, open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    epilog = "Example: ugsd audit cosign --witness-key witness.pub --request ask"
    audit.command("cosign", epilog=epilog)(cosign)


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
    """Have a witness cosign the log.

    Write a request, or read the answer to it. The device makes no connection: send the request by
    any means, for example with `curl --data-binary @ask https://witness/add-checkpoint > answer`.
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


def _write_request(log: OpenLog, request: Path, old: str | int | None) -> None:
    from ugsd_privacy.audit.cosigned import cosign_request
    from ugsd_privacy.files.atomic_files import write_atomically

    note = log.signed()
    with log.ledger.reading() as view:
        asked = cosign_request(view, note, log.key.public, old)
    write_atomically(request, asked.to_bytes())
    print_line(f"{request}: send it to the witness; it continues from {asked.old_size} records")
