"""A home from which a caption left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from ugsd_privacy.keys.log import LogKey
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.drafter.scripted import ScriptedDrafter

New = Callable[..., Captioner]


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch, drafter: ScriptedDrafter) -> None:
    """The commands load a drafter that needs no weights."""
    monkeypatch.setattr(Captioner, "_drafter", lambda self: (drafter, None))


@pytest.fixture
def leave(new_captioner: New, voice: NDArray[np.float32]) -> Callable[[], None]:
    """Let a caption's hello and five blocks leave the home."""

    def one() -> None:
        with new_captioner(user="ada") as captioner:
            assert captioner.caption(voice, 16_000).unverified_reason is None

    return one


@pytest.fixture
def home(leave: Callable[[], None], tmp_path: Path) -> Path:
    leave()
    return tmp_path / "home"


@pytest.fixture
def log_key(home: Path) -> str:
    return LogKey.load(home / "log.key").public.to_text()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A home of another machine, from which nothing left."""
    return tmp_path / "elsewhere"
