"""``ugsd-server manifest-show``: verify and print a manifest."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

if TYPE_CHECKING:
    from ugsd_privacy.keys.manifest import KeyManifest

__all__ = ["description", "moment", "register"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = "Example: ugsd-server manifest-show verifier.manifest --root root.key.pin"
    app.command("manifest-show", epilog=epilog)(manifest_show)


def manifest_show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed manifest.")],
    root: Annotated[str, typer.Option(metavar="FILE|TEXT", help="The pin of the root.")],
) -> None:
    """Verify a manifest and print its contents.

    Fails if a device would not use it now.
    """
    from ugsd_privacy.keys.manifest import read_manifest_file, verify_manifest
    from ugsd_privacy.keys.root import RootPin

    shown = verify_manifest(read_manifest_file(file), pin=RootPin.load(root))
    now_s = time()
    print_line(*description(shown, now_s))
    shown.check(now_s=now_s, least_serial=0)
    shown.key_at(now_s)


def description(manifest: KeyManifest, now_s: float) -> list[str]:
    """Return lines that describe a manifest."""
    lines = [
        f"serial {manifest.serial}, issued {moment(manifest.issued_s)}, "
        f"expires {moment(manifest.expires_s)}"
    ]
    lines += [
        f"key {one.key.fingerprint}, from {moment(one.not_before_s)} to {moment(one.not_after_s)}"
        for one in manifest.keys
    ]
    valid = [
        i for i, one in enumerate(manifest.keys) if one.not_before_s <= now_s < one.not_after_s
    ]
    if valid:
        lines[valid[-1] + 1] += ", in use now"
    return [*lines, f"digest {manifest.fingerprint}, to publish: it is the same for every device"]


def moment(seconds: float) -> str:
    """Format a Unix time in UTC."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
