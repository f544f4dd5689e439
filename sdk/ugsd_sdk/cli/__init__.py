"""``ugsd``: caption clips, read what left, and see a demonstration."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import typer

from ugsd_sdk.cli import audit, caption, demo

__all__ = ["main"]

_USAGE, _INTERRUPTED = 2, 130

_app = typer.Typer(
    name="ugsd",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Put into words how a voice sounds, on this device.",
    epilog="Exit codes: 0 done, 1 something failed (a clip, a log), 2 wrong usage or settings.",
)
caption.register(_app)
audit.register(_app)
demo.register(_app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    from ugsd_privacy.errors import PrivacyError  # noqa: PLC0415  # not needed for --help

    from ugsd_sdk.errors import ConfigError, UgsdError  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="ugsd: %(message)s")
    try:
        _app(args=None if argv is None else list(argv), prog_name="ugsd")
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except (UgsdError, PrivacyError) as error:
        print(f"ugsd: {error}", file=sys.stderr)
        return _USAGE if isinstance(error, ConfigError) else 1
    return 0
