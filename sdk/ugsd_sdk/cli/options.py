"""Options that several commands share, and the settings that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ugsd_sdk.settings.config import Settings

__all__ = ["ConfigOption", "HomeOption", "OwnerKeyOption", "UserOption", "settings_from"]

ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Settings file (TOML or YAML).")
]
HomeOption = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Where ledger and log are.  [default: ~/.ugsd]"),
]
OwnerKeyOption = Annotated[
    Path | None,
    typer.Option("--owner-key", metavar="FILE", help="Reads what left.  [default: the home's]"),
]
UserOption = Annotated[
    str | None,
    typer.Option("--user", metavar="ID", help="Whose budget is charged; never leaves the device."),
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
    """The options, over the environment, over the file. Raises :class:`ConfigError`."""
    from ugsd_sdk.settings.config import Settings  # noqa: PLC0415

    given: dict[str, Any] = {"home": home, "user": user}
    settings = Settings.load(config, **{k: v for k, v in given.items() if v is not None})
    chosen = settings.verifier.with_identity(
        key=verifier_key, root=verifier_root, manifest=verifier_manifest
    )
    if verifier is not None or offline:
        chosen = chosen.model_copy(update={"url": verifier})
    return settings.model_copy(update={"verifier": chosen})
