"""The command ``ugsd-server witness``."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import configure_logging, print_error, print_line

__all__ = ["register"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("witness", epilog="Example: ugsd-server witness --state w --log-key log.pub")(run)


def run(
    state: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            help="Folder that records what this witness cosigned; created with a key if missing.",
        ),
    ],
    log_key: Annotated[
        list[str],
        typer.Option(
            metavar="KEY", help="Public key of a log to witness, or its file; may be repeated."
        ),
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The witness's private key.  [default: witness.key in --state]"
        ),
    ] = None,
    host: Annotated[str, typer.Option(metavar="NAME", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65_535, metavar="N", help="Port to listen on; 0 for any free port."
        ),
    ] = 8766,
) -> None:
    """Witness logs over HTTP.

    Cosigns checkpoints that extend those that it cosigned before. Prints the witness's public key
    for devices and auditors, and the address it listens on. Stops on SIGINT or SIGTERM.
    """
    from ugsd_privacy.errors import UgsdError
    from ugsd_privacy.keys.log import LogPublicKey
    from ugsd_privacy.keys.witness import open_witness
    from ugsd_privacy.tlog.witness import Witness

    from ugsd_server.witness import WitnessServer

    configure_logging(logging.INFO, "%(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        key, cosigned = open_witness(state, key_file)
        witness = Witness(key, map(LogPublicKey.load, log_key), cosigned)
        with WitnessServer(witness, host, port) as server:
            print_line(f"witness key: {key.public.to_text()}", f"listening on {server.url}")
            stop.wait()
    except UgsdError as error:
        print_error("ugsd-server", error)
        raise typer.Exit(1) from None
