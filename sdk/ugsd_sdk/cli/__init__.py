"""``ugsd``: caption clips, read the log of what was sent, and run a demonstration."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated

import typer
from ugsd_privacy.output.completion import register_completion
from ugsd_privacy.output.terminal import configure_logging, print_error, print_line, run_app

from ugsd_sdk import __version__
from ugsd_sdk.cli import (
    audit,
    budget,
    caption,
    demo,
    explain,
    listen,
    privacy,
    profile,
    timeline,
    trust,
)

__all__ = ["main"]

_USAGE, _INTERRUPTED = 2, 130

_EPILOG = """Examples:

\b
  ugsd demo
  ugsd caption voice.wav
  ugsd caption recordings --out captions.csv
  ugsd listen
  ugsd caption --verifier embedded voice.wav
  ugsd audit verify

Exit codes: 0 success, 1 a failure (of a clip or a log), 2 wrong usage or settings, 130 interrupted,
143 terminated.
"""

_app = typer.Typer(
    name="ugsd",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Describe in words how a voice sounds, on this device.",
    epilog=_EPILOG,
)


def _print_version(is_given: bool) -> None:  # typer's callback
    if is_given:
        print_line(f"ugsd {__version__}")
        raise typer.Exit


@_app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that come before a command."""


caption.register(_app)
timeline.register(_app)
explain.register(_app)
listen.register(_app)
audit.register(_app)
budget.register(_app)
demo.register(_app)
profile.register(_app)
privacy.register(_app)
trust.register(_app)
register_completion(_app, "ugsd")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    from ugsd_privacy.output.standard_output import reserved_stdout  # noqa: PLC0415  # --help

    from ugsd_sdk.errors import ConfigError, UgsdError  # noqa: PLC0415

    configure_logging(logging.WARNING, "ugsd: %(message)s")
    try:
        with reserved_stdout():
            return run_app(_app, argv, "ugsd")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except UgsdError as error:
        print_error("ugsd", error)
        return _USAGE if isinstance(error, ConfigError) else 1
