"""Options that several commands share, and the settings that result from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from ugsd_privacy.output.terminal import print_error

from ugsd_sdk.attributes.length import CaptionLength

if TYPE_CHECKING:
    from ugsd_sdk.home import Home
    from ugsd_sdk.settings.config import Settings

__all__ = [
    "ConfigOption",
    "DrafterOption",
    "HomeOption",
    "JsonLinesOption",
    "LengthOption",
    "OfflineOption",
    "OwnerKeyOption",
    "SeedOption",
    "UserOption",
    "VerifierKeyOption",
    "VerifierManifestOption",
    "VerifierOption",
    "VerifierRootOption",
    "note_unused_key",
    "nothing_sent",
    "settings_from",
]

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file (TOML).")
]


def _folder(text: str) -> Path:
    """Refuse empty text, as of a shell variable that is not set: it would be the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty: give a folder, or leave the option out")
    return Path(text)


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        parser=_folder,
        help="Folder of ledger and log.  [default: ~/.ugsd]",
    ),
]
JsonLinesOption = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]
OwnerKeyOption = Annotated[
    Path | None,
    typer.Option(
        "--owner-key",
        metavar="FILE",
        help="Key that opens the sealed records.  [default: owner.key in the home folder]",
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="ID", help="Name of the user; never sent."),
]
DrafterOption = Annotated[
    str,
    typer.Option("--drafter", metavar="starter|free|DIR", help="The model on this device."),
]
LengthOption = Annotated[
    CaptionLength | None,
    typer.Option("--length", help="How much a caption says.  [default: normal]", show_choices=True),
]
SeedOption = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", min=0, max=2**32 - 1, help="Chooses among wordings.  [default: 0]"
    ),
]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use no verifier; send nothing.")]
VerifierOption = Annotated[
    str | None,
    typer.Option(
        "--verifier", metavar="embedded|URL", help="Verifier: `embedded`, or a ws/wss address."
    ),
]
VerifierRootOption = Annotated[
    str | None,
    typer.Option(
        "--verifier-root",
        metavar="FILE|TEXT",
        help="The root key that signed the verifier's manifest.",
    ),
]
VerifierManifestOption = Annotated[
    Path | None,
    typer.Option(
        "--verifier-manifest", metavar="FILE", help="The manifest of the verifier's keys."
    ),
]
VerifierKeyOption = Annotated[
    str | None,
    typer.Option(
        "--verifier-key",
        metavar="FILE|TEXT",
        help="Public key of a verifier on this machine, instead of root and manifest.",
    ),
]


def settings_from(
    config: Path | None,
    *,
    home: Path | None = None,
    user: str | None = None,
    verifier: str | None = None,
    verifier_root: str | None = None,
    verifier_manifest: Path | None = None,
    verifier_key: str | None = None,
    offline: bool = False,
) -> Settings:
    """Return the settings: options win over the environment, and it wins over the file.

    Raises :class:`ConfigError`, and :class:`typer.BadParameter` for ``offline`` with an option of
    the verifier.
    """
    from ugsd_sdk.settings.config import Settings  # noqa: PLC0415

    if offline and (verifier or verifier_root or verifier_manifest or verifier_key):
        raise typer.BadParameter(
            "--offline uses no verifier: leave out the options of the verifier"
        )
    options: dict[str, Any] = {"home": home, "user": user}
    settings = Settings.load(config, **{k: v for k, v in options.items() if v is not None})
    chosen = settings.verifier.with_identity(
        key=verifier_key, root=verifier_root, manifest=verifier_manifest
    )
    if verifier is not None or offline:
        chosen = chosen.model_copy(update={"url": verifier})
    return settings.model_copy(update={"verifier": chosen})


def note_unused_key(settings: Settings, *given: str | Path | None) -> None:
    """Print to standard error that a key of the verifier was ``given`` for nothing, if it was."""
    if settings.verifier.url is None and any(given):
        print_error("ugsd", "no verifier is used, although its key is given: add --verifier")


def nothing_sent(place: Home) -> str:
    """Return the message for a home without a log."""
    return f"no log at {place.ledger}: nothing was sent from this home yet"
