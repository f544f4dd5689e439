"""A microphone, by a sounddevice of the tests' own."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ugsd_sdk.errors import MicrophoneUnavailable
from ugsd_sdk.streams.caption_stream import CaptionStream
from ugsd_sdk.streams.events import FinalCaption, StreamEvent, StreamGap
from ugsd_sdk.streams.microphone import Microphone

from tests.doubles.streams import FakeCaptioner, silence, speech


class SoundDevice(ModuleType):
    """Records ``sound`` at 16 kHz on a thread of its own; time passes faster than it should."""

    class PortAudioError(Exception):
        pass

    def __init__(self, sound: np.ndarray, overflow_at: int | None = None) -> None:
        super().__init__("sounddevice")
        self.sound, self.overflow_at = sound, overflow_at
        self.is_closed = False

    def query_devices(self, device: object, kind: str) -> dict[str, float]:
        if device == "none":
            raise ValueError("no such device")
        assert kind == "input"
        return {"default_samplerate": 16_000.0}

    def InputStream(self, **given: Any) -> _InputStream:  # noqa: N802  # sounddevice's name
        return _InputStream(self, given["callback"], given["finished_callback"])


class _InputStream:
    def __init__(
        self, device: SoundDevice, callback: Callable[..., None], finished: Callable[[], None]
    ) -> None:
        self._device, self._callback, self._finished = device, callback, finished
        self._thread = threading.Thread(target=self._record)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._device.is_closed = True
        self._thread.join(10)

    def _record(self) -> None:
        lost_s = 0.0
        for index, at in enumerate(range(0, len(self._device.sound), 320)):
            is_overflow = index == self._device.overflow_at
            lost_s += 2.0 if is_overflow else 0.0
            self._callback(
                self._device.sound[at : at + 320, np.newaxis],
                len(self._device.sound[at : at + 320]),
                SimpleNamespace(inputBufferAdcTime=50 + at / 16_000 + lost_s),
                SimpleNamespace(input_overflow=is_overflow),
            )
        self._finished()


def installed(monkeypatch: pytest.MonkeyPatch, device: SoundDevice) -> SoundDevice:
    monkeypatch.setitem(sys.modules, "sounddevice", device)
    return device


def collect(stream: CaptionStream, events: list[StreamEvent]) -> None:
    for event in stream:
        events.append(event)


def test_microphone_is_captioned_until_it_is_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.concatenate([silence(1), speech(2), silence(1), speech(2)])
    device = installed(monkeypatch, SoundDevice(sound, overflow_at=160))
    events: list[StreamEvent] = []
    stream = CaptionStream(Microphone(), None, FakeCaptioner().captions)

    with pytest.raises(MicrophoneUnavailable, match="stopped: connect"):
        collect(stream, events)

    finals = [event for event in events if isinstance(event, FinalCaption)]
    assert [(round(one.start_s), round(one.end_s)) for one in finals] == [(1, 3), (6, 8)]
    assert [round(e.duration_s, 2) for e in events if isinstance(e, StreamGap)] == [2.0]
    assert device.is_closed


def test_missing_microphone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, SoundDevice(silence(1)))

    with pytest.raises(MicrophoneUnavailable, match="cannot be opened"):
        next(CaptionStream(Microphone("none"), None, FakeCaptioner().captions))


def test_missing_sounddevice_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)

    with pytest.raises(MicrophoneUnavailable, match=r"pip install ugsd\[microphone\]"):
        next(CaptionStream(Microphone(), None, FakeCaptioner().captions))


def test_missing_portaudio_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(MicrophoneUnavailable, match="libportaudio2"):
        next(CaptionStream(Microphone(), None, FakeCaptioner().captions))
