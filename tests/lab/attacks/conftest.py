"""Fixtures for tests of the attacks."""

from __future__ import annotations

from tests.doubles.threads import one_thread

__all__ = ["one_thread"]
