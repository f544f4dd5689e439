"""What tests of the privacy layer are given."""

from __future__ import annotations

from tests.doubles.lock_holder import hold
from tests.doubles.privacy_world import log_key, new_world, verifier_key, world

__all__ = ["hold", "log_key", "new_world", "verifier_key", "world"]
