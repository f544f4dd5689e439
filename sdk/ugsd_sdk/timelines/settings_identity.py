"""What a checkpoint notes of the settings under which captions are made."""

from __future__ import annotations

import hashlib

from ugsd_sdk.drafter import DrafterInfo
from ugsd_sdk.settings.config import Settings

__all__ = ["settings_identity"]


def settings_identity(
    settings: Settings, drafter: DrafterInfo, length: str | None, seed: int | None
) -> dict[str, str]:
    """Return what captions depend on besides the recording, by name. The user's name and all
    settings, without the place of the home folder, are a hash."""
    given = settings.model_dump_json(exclude={"home"})
    models = drafter.vocabulary + drafter.projection + drafter.profile_encoder
    return {
        "drafter": hashlib.sha256(models).hexdigest()[:16],
        "length": str(length or settings.length),
        "seed": str(settings.seed if seed is None else seed),
        "settings": hashlib.sha256(given.encode()).hexdigest()[:16],
    }
