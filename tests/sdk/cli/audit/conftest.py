"""A home from which a caption was sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.keys.log import LogKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter
from ugsd_sdk.users.models import Models

New = Callable[..., Captioner]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch, drafter: ScriptedDrafter) -> None:
    """The commands load a drafter that needs no weights."""
    monkeypatch.setattr(Models, "_drafter_of", lambda *given: (drafter, None))


@pytest.fixture
def send_caption(new_captioner: New, voice: NDArray[np.float32]) -> Callable[[], None]:
    """Send a caption's hello and five blocks from the home."""

    def one() -> None:
        with new_captioner(user="ada") as captioner:
            assert captioner.caption(voice, 16_000).unverified_reason is None

    return one


@pytest.fixture
def home(send_caption: Callable[[], None], tmp_path: Path) -> Path:
    send_caption()
    return tmp_path / "home"


@pytest.fixture
def log_key(home: Path) -> str:
    return LogKey.load(home / "log.key").public.to_text()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A home of another machine, from which nothing was sent."""
    return tmp_path / "elsewhere"
