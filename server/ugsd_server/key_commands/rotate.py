"""``ugsd-server rotate``: replace a verifier's key."""

from __future__ import annotations

import shlex
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_server.key_commands.manifest_show import moment

if TYPE_CHECKING:
    from ugsd_server.keyring import Rotation

__all__ = ["register"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415

_DAY_S = 86_400
_EPILOG = """Example:

\b
  ugsd-server rotate --key-file verifier.key --overlap-days 30

If the key may have been stolen, revoke it at once with --overlap-days 0. A running server notices.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rotate", epilog=_EPILOG)(rotate)


def rotate(
    key_file: Annotated[
        Path, typer.Option(metavar="FILE", help="The verifier's private key; see `keygen`.")
    ],
    overlap_days: Annotated[
        float,
        typer.Option(
            min=0, max=3650, metavar="N", help="How long the previous key is still accepted."
        ),
    ] = 30.0,
) -> None:
    """Replace a verifier's key.

    Devices that know the previous one are served during the overlap. Prints the new public key. A
    running server needs no restart.
    """
    from ugsd_server.keyring import rotate as rotated

    rotation = rotated(key_file, overlap_s=overlap_days * _DAY_S, now_s=time())
    print_line(rotation.public.to_text())
    print_line(*_after_rotating(key_file, rotation), err=True)


def _after_rotating(key_file: Path, rotation: Rotation) -> list[str]:
    from ugsd_server.keyring import public_file

    removed = [f"removed expired key {path}" for path in rotation.removed]
    if rotation.retained is None:
        previous, listed = "the previous key is no longer accepted", []
    else:
        until = moment(rotation.ends_s)
        previous = f"the previous key is accepted until {until}: {rotation.retained}"
        listed = [public_file(rotation.retained)]
    files = shlex.join(map(str, [*listed, public_file(key_file.resolve())]))
    return [
        *removed,
        previous,
        "next, on the machine with the root, sign a manifest and give it to devices:",
        f"  ugsd-server manifest --root-key root.key --out verifier.manifest {files}",
    ]
