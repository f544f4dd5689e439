"""What tests of the device are given."""

from __future__ import annotations

from tests.doubles.device import (
    _no_luck,
    _no_settings_from_outside,
    drafter,
    fake,
    new_captioner,
    verifier_key,
    voice,
)
from tests.doubles.lock_holder import hold

__all__ = [
    "_no_luck",
    "_no_settings_from_outside",
    "drafter",
    "fake",
    "hold",
    "new_captioner",
    "verifier_key",
    "voice",
]
