"""Fixtures of the ledger's tests."""

from __future__ import annotations

from tests.privacy.ledger.connected_world import connected

__all__ = ["connected"]
