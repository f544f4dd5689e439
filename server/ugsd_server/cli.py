"""``ugsd-server``: run a verifier. The commands in `key_commands` make its keys."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.completion import register_completion
from ugsd_privacy.output.terminal import (
    configure_logging,
    print_error,
    print_json,
    print_line,
    run_app,
)

from ugsd_server import key_commands, witness_command

if TYPE_CHECKING:
    from ugsd_server.app import RunningServer
    from ugsd_server.settings import Settings

__all__ = ["main"]

# Heavy imports are inside the commands, so that --help and keygen start fast.
# ruff: noqa: PLC0415

_FAILED = 1
_WRONG_USAGE = 2
_INTERRUPTED = 130

_EPILOG = """Examples:

\b
  ugsd-server keygen --key-file verifier.key
  ugsd-server --port 8765 --key-file verifier.key
  ugsd-server rotate --key-file verifier.key
  ugsd-server --port 8765 --key-file verifier.key --create-key --model ./my-verifier --threads 2

Each setting can also be an environment variable, such as UGSD_SERVER_PORT for --port; options win.

Exit codes: 0 stopped on request, 1 failed, 2 wrong usage, 130 interrupted.
"""

_app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    from ugsd_privacy.errors import UgsdError
    from ugsd_privacy.output.standard_output import reserved_stdout

    from ugsd_server.errors import ConfigError

    try:
        with reserved_stdout():
            return run_app(_app, argv, "ugsd-server")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except UgsdError as error:
        print_error("ugsd-server", error)
        return _WRONG_USAGE if isinstance(error, ConfigError) else _FAILED


@_app.callback(invoke_without_command=True, epilog=_EPILOG)
def run(
    context: typer.Context,
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            metavar="N",
            help="Port to listen on; 0 for any free port.  [default: 8765]",
        ),
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The verifier's private key; see `keygen`.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(metavar="NAME", help="Address to listen on.  [default: 127.0.0.1]")
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder with model.json and verifier.onnx.  [default: the bundled model]",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Threads for one forward pass.  [default: 1]"),
    ] = None,
    create_key: Annotated[
        bool, typer.Option("--create-key", help="Create the key file if it is missing.")
    ] = False,
    announce: Annotated[
        bool,
        typer.Option(
            "--announce",
            help='Print only one JSON line, {"url": ..., "public_key": ...}, when listening.',
        ),
    ] = False,
    exit_with_stdin: Annotated[
        bool,
        typer.Option("--exit-with-stdin", help="Stop when standard input ends."),
    ] = False,
) -> None:
    """Verify blocks of drafted captions that devices send. Create its key with `keygen` first.

    Prints the public key for devices to pin and the address it listens on. Stops on SIGINT or
    SIGTERM, after answering pending blocks.
    """
    if context.invoked_subcommand is not None:
        return
    from ugsd_server.settings import Settings

    configure_logging(logging.INFO, "%(message)s")
    options = {
        "port": port,
        "key_file": key_file,
        "host": host,
        "model": model,
        "threads": threads,
        "create_key": create_key or None,
    }
    settings = Settings.load(**{k: v for k, v in options.items() if v is not None})
    asyncio.run(_serve_until_stopped(settings, announce=announce, watch_stdin=exit_with_stdin))


key_commands.register(_app)
witness_command.register(_app)
register_completion(_app, "ugsd-server")


async def _serve_until_stopped(settings: Settings, *, announce: bool, watch_stdin: bool) -> None:
    from ugsd_server.app import serve

    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt instead
            loop.add_signal_handler(number, stop.set)
    if watch_stdin:
        _when_stdin_ends(lambda: loop.call_soon_threadsafe(stop.set))
    async with await serve(settings) as server:
        _print_endpoint(server, announce=announce)
        await stop.wait()


def _print_endpoint(server: RunningServer, *, announce: bool) -> None:
    key = server.public_key
    if announce:
        print_json(json.dumps({"url": server.url, "public_key": key.to_text()}))
        return
    print_line(
        f"public key to pin: {key.to_text()}",
        f"fingerprint: {key.fingerprint}",
        f"listening on {server.url}",
    )


def _when_stdin_ends(then: Callable[[], object]) -> None:
    def watch() -> None:
        # Unbuffered: a thread inside a buffered read would hold its lock while the process exits.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            then()

    threading.Thread(target=watch, daemon=True, name="stdin").start()
