"""Decoding in a child that was forked while another thread opened a file."""

from __future__ import annotations

from pathlib import Path

import soundfile
import ugsd_sdk
from ugsd_sdk.audio.samples import read_pieces

from tests.doubles.forked import in_child

CLIP = Path(ugsd_sdk.__file__).parent / "starter" / "clips" / "16a04Ab.opus"


def test_held_lock_of_soundfile_stops_no_child() -> None:
    with soundfile.SoundFile._sf_error_lock:
        result = in_child(_count)
    assert result() == _count() > 0


def _count() -> int:
    return sum(1 for _ in read_pieces(CLIP, None, piece_s=30, target_rate=16_000))
