"""Fixtures for tests over real sockets."""

from __future__ import annotations

from tests.doubles.device import _no_settings_from_outside, drafter, voice
from tests.doubles.loopback import run_server

__all__ = ["_no_settings_from_outside", "drafter", "run_server", "voice"]
