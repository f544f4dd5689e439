"""What tests of the device are given."""

from __future__ import annotations

from tests.doubles.device import (
    _no_settings_from_outside,
    drafter,
    fake,
    new_captioner,
    verifier_key,
    voice,
)

__all__ = ["_no_settings_from_outside", "drafter", "fake", "new_captioner", "verifier_key", "voice"]
