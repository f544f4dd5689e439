"""``ugsd trust``: show the manifest of the verifier's keys, or accept it after a loss."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from ugsd_privacy.output.terminal import print_line

from ugsd_sdk.cli.options import ConfigOption, HomeOption, settings_from

if TYPE_CHECKING:
    from ugsd_privacy.keys.manifest import KeyManifest

    from ugsd_sdk.connection.trust import TrustedRoot

__all__ = ["register"]

# Heavy imports are inside the commands, so that --help answers at once.
# ruff: noqa: PLC0415

_EPILOG = """Examples:

\b
  ugsd trust show --config ugsd.toml
  ugsd trust accept --config ugsd.toml
"""
_RootOption = Annotated[
    str | None,
    typer.Option(
        "--verifier-root", metavar="FILE|TEXT", help="The root key that signed the manifest."
    ),
]
_ManifestOption = Annotated[
    Path | None, typer.Option("--verifier-manifest", metavar="FILE", help="The signed manifest.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    trust = typer.Typer(
        no_args_is_help=True,
        help="Show or accept the manifest of the verifier's keys.",
        epilog=_EPILOG,
    )
    trust.command("show", epilog="Example: ugsd trust show --config ugsd.toml")(show)
    trust.command("accept", epilog="Example: ugsd trust accept --config ugsd.toml")(accept)
    app.add_typer(trust, name="trust")


def show(
    verifier_root: _RootOption = None,
    verifier_manifest: _ManifestOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the manifest and its digest.

    The digest is the same for every device. Compare the digest with the operator's or another
    owner's: an operator who signs a different manifest for each device could recognise devices by
    it. This command stores nothing.
    """
    _print_manifest(_root(verifier_root, verifier_manifest, home, config).manifest())


def accept(
    verifier_root: _RootOption = None,
    verifier_manifest: _ManifestOption = None,
    home: HomeOption = None,
    config: ConfigOption = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Accept the present manifest as the newest one.

    This is for a device that lost its record of manifests. Until then no manifest is used, since an
    older one with a stolen key could be accepted. Ask the operator for the digest of the newest
    manifest first.
    """
    root = _root(verifier_root, verifier_manifest, home, config)
    _print_manifest(root.manifest())
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("cannot ask for confirmation here: add --yes")
        typer.confirm("Is this the digest of the operator's newest manifest?", abort=True)
    accepted = root.accept()
    print_line(f"accepted: manifests before serial {accepted.serial} are refused from now on")


def _root(
    verifier_root: str | None,
    verifier_manifest: Path | None,
    home: Path | None,
    config: Path | None,
) -> TrustedRoot:
    from ugsd_sdk.connection.endpoints import trusted_root
    from ugsd_sdk.home import Home

    settings = settings_from(
        config, home=home, verifier_root=verifier_root, verifier_manifest=verifier_manifest
    )
    return trusted_root(settings.verifier, Home.from_path(settings.home))


def _print_manifest(manifest: KeyManifest) -> None:
    print_line(
        f"serial {manifest.serial}, issued {_moment(manifest.issued_s)}, "
        f"expires {_moment(manifest.expires_s)}"
    )
    for entry in manifest.keys:
        begins, ends = _moment(entry.not_before_s), _moment(entry.not_after_s)
        print_line(f"key {entry.key.fingerprint}, from {begins} to {ends}")
    print_line(f"digest {manifest.fingerprint}")


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
