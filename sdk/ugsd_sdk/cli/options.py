"""Options that several commands share, and the settings that result from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ugsd_sdk.home import Home
    from ugsd_sdk.settings.config import Settings

__all__ = [
    "ConfigOption",
    "HomeOption",
    "JsonLinesOption",
    "OwnerKeyOption",
    "UserOption",
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

    Raises :class:`ConfigError`.
    """
    from ugsd_sdk.settings.config import Settings  # noqa: PLC0415

    options: dict[str, Any] = {"home": home, "user": user}
    settings = Settings.load(config, **{k: v for k, v in options.items() if v is not None})
    chosen = settings.verifier.with_identity(
        key=verifier_key, root=verifier_root, manifest=verifier_manifest
    )
    if verifier is not None or offline:
        chosen = chosen.model_copy(update={"url": verifier})
    return settings.model_copy(update={"verifier": chosen})


def nothing_sent(place: Home) -> str:
    """Return the message for a home without a log."""
    return f"no log at {place.ledger}: nothing was sent from this home yet"
