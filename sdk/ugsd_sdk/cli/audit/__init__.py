"""``ugsd audit``: the log of what was sent, and its verification."""

from __future__ import annotations

import typer

from ugsd_sdk.cli.audit import (
    cosign,
    erase,
    export,
    fleet,
    key,
    prove,
    receipt,
    report,
    show,
    verify,
    witness,
)

__all__ = ["register"]

_EPILOG = """Examples:

\b
  ugsd audit show
  ugsd audit show --json --home ~/.ugsd
  ugsd audit show --content --owner-key /media/stick/owner.key
  ugsd audit verify
  ugsd audit export log.ugsd
  ugsd audit verify log.ugsd
  ugsd audit erase --older-than 30
"""
_COMMANDS = (show, erase, verify, export, key, receipt, prove, cosign, witness, report, fleet)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    audit = typer.Typer(
        no_args_is_help=True,
        help="Read and verify the log of everything that was sent.",
        epilog=_EPILOG,
    )
    for command in _COMMANDS:
        command.register(audit)
    app.add_typer(audit, name="audit")
