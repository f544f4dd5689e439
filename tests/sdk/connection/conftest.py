"""Fixtures for the tests of the connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.connection.manifests import Device


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)
