"""Fixtures for the invariants: a device, a verifier, and peers on loopback."""

from __future__ import annotations

from tests.doubles.device import (
    _no_settings_from_outside,
    drafter,
    fake,
    new_captioner,
    voice,
)
from tests.doubles.loopback import run_server
from tests.doubles.privacy_world import log_key, new_world, verifier_key, world

__all__ = [
    "_no_settings_from_outside",
    "drafter",
    "fake",
    "log_key",
    "new_captioner",
    "new_world",
    "run_server",
    "verifier_key",
    "voice",
    "world",
]
