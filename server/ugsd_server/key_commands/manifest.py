"""``ugsd-server manifest``: sign the list of the verifier's keys."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_server.key_commands.manifest_show import description

__all__ = ["register"]

# Heavy imports are inside the command, so that --help starts fast.
# ruff: noqa: PLC0415

_DAY_S = 86_400
_SLACK_S = 3600
"""A manifest is valid from this long before it is signed: clocks of devices may be slow."""
_MOMENT = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]
_EPILOG = """Examples:

\b
  ugsd-server manifest --root-key root.key --out verifier.manifest verifier.key.pub
  ugsd-server manifest --root-key root.key --out verifier.manifest \\
    verifier.key.until-2026-12-28T101500Z.pub verifier.key.pub
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("manifest", epilog=_EPILOG)(manifest)


def manifest(
    keys: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY",
            help="Public keys to list, as files or text; the last of several new keys is newest.",
        ),
    ],
    *,
    root_key: Annotated[
        Path, typer.Option(metavar="FILE", help="The root's private keys; see `root`.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Manifest to write; an existing one is replaced.")
    ],
    days: Annotated[
        int, typer.Option(min=1, max=3650, metavar="N", help="Days until it expires.")
    ] = 90,
    not_before: Annotated[
        datetime | None,
        typer.Option(
            metavar="TIME",
            formats=_MOMENT,
            help="When new keys become valid, UTC: 2026-01-31 or 2026-01-31T12:00:00Z.  "
            "[default: now]",
        ),
    ] = None,
    serial: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Serial number; if the last manifest was lost, give a higher one than it had.",
        ),
    ] = None,
) -> None:
    """Sign a manifest of the verifier's keys.

    It lists the keys and when devices may use each. A key that the existing manifest lists keeps
    its start. A key that `rotate` retained ends at the time in its file name; the others end with
    the manifest.
    """
    from ugsd_privacy.files.key_files import replace_text
    from ugsd_privacy.keys.manifest import read_manifest_file, sign, verify_manifest
    from ugsd_privacy.keys.root import RootKey
    from ugsd_privacy.keys.verifier import VerifierPublicKey

    from ugsd_server.keyring import expiry_of
    from ugsd_server.manifest_entries import ManifestEntry, next_manifest

    signer = RootKey.load(root_key)
    pin = signer.public.pin
    previous = verify_manifest(read_manifest_file(out), pin=pin) if out.exists() else None
    now_s = int(time())
    signed = next_manifest(
        [ManifestEntry(VerifierPublicKey.load(key), expiry_of(Path(key))) for key in keys],
        previous,
        serial=serial,
        issued_s=now_s - _SLACK_S,
        expires_s=now_s + days * _DAY_S,
        begins_s=None if not_before is None else int(not_before.replace(tzinfo=UTC).timestamp()),
    )
    replace_text(out, sign(signed, signer))
    print_line(*description(signed, now_s))
    print_line(
        f"copy {out} to devices; on first setup also give them the root's pin: {pin.to_text()}",
        err=True,
    )
