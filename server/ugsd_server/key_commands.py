"""``ugsd-server keygen``, ``rotate``, ``root``, ``manifest`` and ``manifest-show``."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

if TYPE_CHECKING:
    from ugsd_privacy.keys.manifest import KeyManifest

    from ugsd_server.keyring import Rotation

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help starts fast.
# ruff: noqa: PLC0415

_DAY_S = 86_400
_SLACK_S = 3600
"""A manifest is valid from this long before it is signed: clocks of devices may be slow."""
_MOMENT = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]

_ROTATE_EPILOG = """Example:

\b
  ugsd-server rotate --key-file verifier.key --overlap-days 30

If the key may have been stolen, revoke it at once with --overlap-days 0. A running server notices.
"""

_MANIFEST_EPILOG = """Examples:

\b
  ugsd-server manifest --root-key root.key --out verifier.manifest verifier.key.pub
  ugsd-server manifest --root-key root.key --out verifier.manifest \\
    verifier.key.until-2026-12-28T101500Z.pub verifier.key.pub
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(epilog="Example: ugsd-server keygen --key-file verifier.key")(keygen)
    app.command(epilog=_ROTATE_EPILOG)(rotate)
    app.command(epilog="Example: ugsd-server root --key-file root.key")(root)
    app.command(epilog=_MANIFEST_EPILOG)(manifest)
    app.command(epilog="Example: ugsd-server manifest-show verifier.manifest --root root.key.pin")(
        manifest_show
    )


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

    _require_absent(key_file, public_file(key_file))
    key = VerifierKey.generate()
    key.save(key_file)
    replace_text(public_file(key_file), key.public.to_text())
    print_line(key.public.to_text())


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
    _require_absent(key_file, pin_file)
    key = RootKey.generate()
    key.save(key_file)
    text = key.public.pin.to_text()
    replace_text(pin_file, text)
    print_line(text)


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
    print_line(*_description(signed, now_s))
    print_line(
        f"copy {out} to devices; on first setup also give them the root's pin: {pin.to_text()}",
        err=True,
    )


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
    print_line(*_description(shown, now_s))
    shown.check(now_s=now_s, least_serial=0)
    shown.key_at(now_s)


def _require_absent(*paths: Path) -> None:
    from ugsd_privacy.errors import KeyFileError

    for path in paths:
        if path.exists():
            raise KeyFileError(f"{path} exists; choose another --key-file or remove it")


def _after_rotating(key_file: Path, rotation: Rotation) -> list[str]:
    from ugsd_server.keyring import public_file

    removed = [f"removed expired key {path}" for path in rotation.removed]
    if rotation.retained is None:
        previous, listed = "the previous key is no longer accepted", []
    else:
        until = _moment(rotation.ends_s)
        previous = f"the previous key is accepted until {until}: {rotation.retained}"
        listed = [public_file(rotation.retained)]
    files = shlex.join(map(str, [*listed, public_file(key_file.resolve())]))
    return [
        *removed,
        previous,
        "next, on the machine with the root, sign a manifest and give it to devices:",
        f"  ugsd-server manifest --root-key root.key --out verifier.manifest {files}",
    ]


def _description(manifest: KeyManifest, now_s: float) -> list[str]:
    """Return lines that describe a manifest."""
    lines = [
        f"serial {manifest.serial}, issued {_moment(manifest.issued_s)}, "
        f"expires {_moment(manifest.expires_s)}"
    ]
    lines += [
        f"key {one.key.fingerprint}, from {_moment(one.not_before_s)} to {_moment(one.not_after_s)}"
        for one in manifest.keys
    ]
    valid = [
        i for i, one in enumerate(manifest.keys) if one.not_before_s <= now_s < one.not_after_s
    ]
    if valid:
        lines[valid[-1] + 1] += ", in use now"
    return [*lines, f"digest {manifest.fingerprint}, to publish: it is the same for every device"]


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
