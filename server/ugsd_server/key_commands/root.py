"""``ugsd-server root``: create the offline key that signs manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_server.key_commands.keygen import require_absent

__all__ = ["register"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("root", epilog="Example: ugsd-server root --key-file root.key")(root)


def root(
    key_file: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where to write the private keys; the pin goes to FILE.pin."
        ),
    ],
) -> None:
    """Create a root, the offline key that signs manifests.

    Writes FILE, which is private, and FILE.pin. Prints the pin to install on devices. Store FILE
    offline, not on the verifier's machine, and keep a copy: without it devices cannot learn of
    another key.
    """
    from ugsd_privacy.files.key_files import replace_text
    from ugsd_privacy.keys.root import RootKey

    pin_file = key_file.with_name(f"{key_file.name}.pin")
    require_absent(key_file, pin_file)
    key = RootKey.generate()
    key.save(key_file)
    text = key.public.pin.to_text()
    replace_text(pin_file, text)
    print_line(text)
