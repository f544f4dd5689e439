"""The voice activity detector: Silero VAD (MIT) at 16 kHz, on ONNX Runtime.

The graph has the weights of ``silero_vad_16k_sequence.onnx`` of PyPI's ``silero-vad`` 6.2.3, with
its convolutions written as products of matrices (``ugsd_lab.models.speech_detector``, decision
051). All windows of a clip go through one call, each of 512 samples with the 64 before it as
context, and an LSTM state that starts at zero. A recording is brought to one level first, since
the detector finds no speech below about -60 dBFS.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray
from ugsd_privacy.files.bounded_files import read_regular
from ugsd_privacy.forks import call_in_children, keep_for_good

from ugsd_sdk.calls.core_slots import CORE_SLOTS
from ugsd_sdk.errors import ModelError
from ugsd_sdk.onnx_sessions import onnx_session
from ugsd_sdk.speech.spans import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Speech,
    find_spans,
    loud_duration_s,
    tightened,
)

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "CONTEXT_SAMPLES",
    "DETECTOR_FILE",
    "LOUDEST_WINDOW_RMS",
    "WARM_UP_WINDOWS",
    "DetectorState",
    "VoiceActivityDetector",
]

Float32 = NDArray[np.float32]
DetectorState: TypeAlias = tuple[Float32, Float32]
"""What the detector keeps from window to window: hidden and cell state (1, 1, 128)."""

DETECTOR_FILE = Path(__file__).with_name("silero_vad_16k.onnx")
_SHA256 = "82e3cc2059049ae6bf598255ea832d88a21c82aaae8111ca54ea0da1ce61ed7c"
_MAX_BYTES = 8 * 2**20
CONTEXT_SAMPLES = 64
_NO_STATE = np.zeros((1, 1, 128), dtype=np.float32)
WARM_UP_WINDOWS = 16
"""Silence before and after a recording, so that speech at its very start is found as well."""
_USUAL_QUANTILE = 0.8
"""Share of the samples of a recording that are below its usual level, silence aside."""
_SHOUT_SPEED = 0.75
"""Playback speed of the second attempt, if no speech was found."""
_MIN_SHOUT_SHARE = 0.5
"""Least share of the loud part that the second attempt must find."""
LOUDEST_WINDOW_RMS = 0.1
"""A recording is scaled so that its loudest window has this root mean square."""


class VoiceActivityDetector:
    """Finds speech in recordings. Reads its file with the first one; may be shared by threads.

    A process that is forked from one that uses it reads the file again.
    """

    def __init__(self, file: Path = DETECTOR_FILE) -> None:
        self._file = file
        self._session: onnxruntime.InferenceSession | None = None
        self._loading = Lock()
        call_in_children(self._forget_in_child)

    def load(self) -> None:
        """Read the detector. Raises :class:`ModelError` if its file is missing or damaged."""
        self._loaded_session()

    def _loaded_session(self) -> onnxruntime.InferenceSession:
        session = self._session
        if session is None:
            with self._loading:
                session = self._session = self._session or self._new_session()
        return session

    def _new_session(self) -> onnxruntime.InferenceSession:
        try:
            graph = read_regular(self._file, _MAX_BYTES)
        except OSError as error:
            raise ModelError(f"{self._file}: {error.strerror}: reinstall the package") from error
        if hashlib.sha256(graph).hexdigest() != _SHA256:
            raise ModelError(f"{self._file}: damaged or cut short: reinstall the package")
        try:
            return onnx_session(graph)
        except Exception as error:
            raise ModelError(f"{self._file} cannot be loaded: {error}") from error

    def close(self) -> None:
        """Free the detector's memory; the next recording reads it again."""
        self._session = None

    def find(self, recording: Float32) -> Speech:
        """Return where ``recording``, mono (n,) at 16 kHz, holds speech.

        Raises :class:`ModelError`.
        """
        if not recording.any():
            return Speech((), len(recording))
        with (holder := Lock()), CORE_SLOTS.held(holder):
            return self._found(recording)

    def _found(self, recording: Float32) -> Speech:
        found = self._spans(recording)
        if not found.is_enough:
            found = self._spans(_limited(recording))
        if not found.is_enough:
            found = self.find_shouts(recording)
        return tightened(found, recording)

    def _spans(self, recording: Float32) -> Speech:
        silence = np.zeros(WARM_UP_WINDOWS * WINDOW_SAMPLES, dtype=np.float32)
        padded = np.concatenate([silence, recording, silence])
        found = find_spans(self.probabilities(padded), len(padded))
        return found.within(len(silence), len(recording))

    def find_shouts(self, recording: Float32) -> Speech:
        """Search ``recording`` (n,), in which no speech was found, again at a lower pitch, because
        the detector takes shouts and screams for noise.

        The result counts only if it covers most of what is loud, since some tones would pass
        otherwise.
        """
        slower = soxr.resample(recording, SAMPLE_RATE, SAMPLE_RATE / _SHOUT_SPEED)
        found = self._spans(np.asarray(slower, dtype=np.float32))
        spans = ((int(a * _SHOUT_SPEED), int(b * _SHOUT_SPEED)) for a, b in found.spans)
        shouts = Speech(tuple(spans), len(recording))
        is_most = shouts.duration_s >= _MIN_SHOUT_SHARE * loud_duration_s(recording)
        return shouts if is_most else Speech((), len(recording))

    def probabilities(self, recording: Float32) -> Float32:
        """Return the probability of speech (m,) in each window of 512 samples.

        The last window is filled up with zeros. Raises :class:`ModelError`.
        """
        if not len(recording):
            return np.zeros(0, dtype=np.float32)
        return self.read_windows(_windows(recording), None)[0]

    def read_windows(
        self, windows: Float32, state: DetectorState | None
    ) -> tuple[Float32, DetectorState]:
        """Return the probability of speech (m,) in consecutive ``windows`` (m, 576), each with 64
        samples of context before its own 512, and the state after them.

        ``state`` is the one after the windows before; ``None`` begins a recording. Raises
        :class:`ModelError`.
        """
        session = self._loaded_session()
        h, c = (_NO_STATE, _NO_STATE) if state is None else state
        try:
            outputs = session.run(["speech_probs", "hn", "cn"], {"input": windows, "h": h, "c": c})
        except Exception as error:
            raise ModelError(f"{self._file} failed: reinstall the package") from error
        probabilities = np.asarray(outputs[0], dtype=np.float32).reshape(-1)
        return probabilities, (outputs[1], outputs[2])

    def _forget_in_child(self) -> None:
        self._loading = Lock()  # a thread of the parent may have held the other one
        session, self._session = self._session, None
        if session is not None:
            keep_for_good(session)


def _limited(recording: Float32) -> Float32:
    """Scale a recording (n,) by its usual level and cut what is far louder, so that a knock does
    not hide a quiet voice."""
    levels = np.abs(recording)
    usual = float(np.quantile(levels[levels > 0], _USUAL_QUANTILE))
    limited = np.clip(recording.astype(np.float64) * (LOUDEST_WINDOW_RMS / usual), -1, 1)
    return limited.astype(np.float32)


def _windows(recording: Float32) -> Float32:
    """Return (m, 576): windows of ``recording`` (n,) behind the context of each, at one level."""
    count = -(-len(recording) // WINDOW_SAMPLES)
    padded = np.zeros(CONTEXT_SAMPLES + count * WINDOW_SAMPLES, dtype=np.float32)
    padded[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(recording)] = recording
    own = padded[CONTEXT_SAMPLES:].reshape(count, WINDOW_SAMPLES)
    loudest = float(np.sqrt(np.mean(np.square(own, dtype=np.float64), axis=1).max()))
    if loudest > 0:
        padded *= np.float32(LOUDEST_WINDOW_RMS / loudest)
    size = CONTEXT_SAMPLES + WINDOW_SAMPLES
    return np.lib.stride_tricks.sliding_window_view(padded, size)[::WINDOW_SAMPLES].copy()
