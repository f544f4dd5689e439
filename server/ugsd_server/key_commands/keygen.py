"""``ugsd-server keygen``: create a verifier's key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

__all__ = ["register", "require_absent"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("keygen", epilog="Example: ugsd-server keygen --key-file verifier.key")(keygen)


def keygen(
    key_file: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Where to write the private key; the public key goes to FILE.pub."
        ),
    ],
) -> None:
    """Create a verifier's key.

    Writes FILE, which only you can read, and FILE.pub, the public key. Prints the public key. Never
    overwrites a file.
    """
    from ugsd_privacy.files.key_files import replace_text
    from ugsd_privacy.keys.verifier import VerifierKey

    from ugsd_server.keyring import public_file

    require_absent(key_file, public_file(key_file))
    key = VerifierKey.generate()
    key.save(key_file)
    replace_text(public_file(key_file), key.public.to_text())
    print_line(key.public.to_text())


def require_absent(*paths: Path) -> None:
    """Raise ``KeyFileError`` if one of ``paths`` exists."""
    from ugsd_privacy.errors import KeyFileError

    for path in paths:
        if path.exists():
            raise KeyFileError(f"{path} exists; choose another --key-file or remove it")
