"""``ugsd-server keygen``, ``rotate``, ``root``, ``manifest`` and ``manifest-show``."""

from __future__ import annotations

import typer

from ugsd_server.key_commands import keygen, manifest, manifest_show, root, rotate

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (keygen, rotate, root, manifest, manifest_show):
        command.register(app)
