"""What is no clip, but holds one, is refused with the way to pass it."""

from __future__ import annotations

import asyncio
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ugsd_sdk.audio.samples import read_clip
from ugsd_sdk.captioner import Captioner
from ugsd_sdk.errors import AudioError, UgsdError

SOUND = np.zeros(16_000, np.float32)


class Upload:
    """A file whose read() is a coroutine, as those of web frameworks."""

    async def read(self, size: int = -1) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("clip", "remedy"),
    [
        (lambda: (16_000, SOUND), "pass them as two arguments, samples first"),
        (lambda: (SOUND, 16_000), "pass them as two arguments, samples first"),
        (lambda: {"array": SOUND, "sampling_rate": 16_000}, "as two arguments"),
        (lambda: (SOUND for _ in range(2)), r"to stream\(\), and several clips to caption_many"),
        (lambda: "https://example.org/a.wav", "download the address"),
        (lambda: Path("https://example.org/a.wav"), "download the address"),
        (lambda: "~/nothing.wav", "expanduser"),
        (Upload, r"await file.read\(\)"),
        (lambda: asyncio.StreamReader.__new__(asyncio.StreamReader), r"await file.read\(\)"),
        (lambda: io.StringIO("text"), "open it with 'rb'"),
        (lambda: None, "a clip is a path"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_other_forms_are_refused_with_the_way(clip: Callable[[], Any], remedy: str) -> None:
    with pytest.raises(AudioError, match=remedy):
        read_clip(clip(), None)


def test_pickled_captioner_says_what_to_pass() -> None:
    with pytest.raises(UgsdError, match="create a captioner in each process"):
        pickle.dumps(Captioner())
