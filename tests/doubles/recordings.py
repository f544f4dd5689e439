"""Captions of utterances of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.caption import Caption
from ugsd_sdk.caption.options import CaptionOptions
from ugsd_sdk.captioner import Captioner

__all__ = ["caption_utterance"]


def caption_utterance(
    captioner: Captioner,
    voice: NDArray[np.float32],
    recording: bytes | None,
    *,
    user: str | None = None,
) -> Caption:
    """Caption ``voice`` (n,) at 16 kHz as an utterance of ``recording``."""
    return captioner._utterance_captioner(user, CaptionOptions(recording=recording))(voice)
