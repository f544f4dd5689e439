"""The audio encoder as a device runs it: the exported graph over windows of speech."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.speech.voice_activity import DETECTOR_FILE
from ugsd_sdk.speech.windows import embed_in_windows

__all__ = ["DeviceEncoder"]

Float32 = NDArray[np.float32]


class DeviceEncoder:
    """The graph ``file`` of an audio encoder, on one thread."""

    def __init__(self, file: Path) -> None:
        graph = file.read_bytes()
        self._session = onnx_session(graph)
        self.sha256 = hashlib.sha256(graph + DETECTOR_FILE.read_bytes()).hexdigest()
        """SHA-256, in hex, of the encoder and of the detector that chooses its input."""

    def embed(self, speech: Float32) -> Float32:
        """Return the audio embedding (E,) of speech (n,) at 16 kHz."""
        return embed_in_windows(self._embed_frames, speech)

    def _embed_frames(self, frames: Float32) -> Float32:
        embeddings: Float32 = self._session.run(None, {"frames": frames})[0]
        return embeddings
