"""Captions of utterances of a recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.calls.call import Call
from ugsd_sdk.caption import Caption
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
    with captioner._captioning(user) as (pipeline, _):
        return pipeline.caption(
            voice, 16_000, call=Call(None), profile=None, length=None, seed=None,
            recording=recording,
        )  # fmt: skip
