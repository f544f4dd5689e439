"""``ugsd audit key``: the log's public key."""

from __future__ import annotations

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.audit.open_log import open_log
from ugsd_sdk.cli.options import ConfigOption, HomeOption

__all__ = ["register"]


def register(audit: typer.Typer) -> None:
    """Add the command to ``ugsd audit``."""
    audit.command("key", epilog="Example: ugsd audit key > log.pub")(key)


def key(home: HomeOption = None, config: ConfigOption = None) -> None:
    """Print the log's public key.

    Whoever verifies the log should get it from the device itself.
    """
    with open_log(home, config) as log:
        print_line(log.key.public.to_text())
        print_line(f"key fingerprint: {log.key.public.fingerprint}", err=True)
